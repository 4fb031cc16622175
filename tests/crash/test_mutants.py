"""Each rule of order that the device keeps is broken once, and a crash image finds it.

A mutant is one function with some of its text replaced. Where that text is no longer there the test
fails: the rule has moved, and its mutant must follow.
"""

import inspect
import random
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from storage.device import opening, recovery
from storage.device.blob_staging import _StagingFile
from storage.device.blobs import BlobStore
from storage.device.checkpoint import Checkpointer
from storage.device.committed import CommittedBlobs
from storage.device.compaction import Compactor
from storage.device.garbage import GarbageTable
from storage.device.journal import Journal
from storage.device.recovery import Recovery
from storage.device.register import RowTable
from storage.device.segments import SegmentFiles
from storage.device.upkeep import Upkeep
from tests.crash.crossing import crossed
from tests.crash.recording_disk import RecordingDisk
from tests.crash.sweep import find_faults, power_cuts, record, share

SEEDS = 12
STEPS = 150
FEW_STEPS = 50
IMAGES = 120
"""States looked at for each seed, until one shows a fault."""


async def usual(seed: int) -> RecordingDisk:
    """Random work."""
    return await record(seed, STEPS)


async def few(seed: int) -> RecordingDisk:
    """Less of it, where the mutant leaves so much open that there are too many states."""
    return await record(seed, FEW_STEPS)


class Mutant(NamedTuple):
    """In `where.name` the text `old` becomes `new`.

    record: the runs that show it, by seed. seed: one that does; where it does no longer, all are tried.
    """

    where: Any
    name: str
    old: str
    new: str
    record: Callable[[int], Awaitable[RecordingDisk]] = usual
    seed: int = 0


MUTANTS = {
    "rows are answered before their sync": Mutant(
        Journal, "_write", "file.sync()\n    return", "return", few
    ),
    "what found no room is not cut off": Mutant(
        Journal, "_write", "file.truncate(batch.start)", "pass"
    ),
    "what found no room is not cut off durably": Mutant(
        Journal, "_write", "file.sync()  # else", "pass  # else", seed=3
    ),
    "a segment that was given up keeps its handle": Mutant(
        Journal, "_failed", "self.files.drop(batch.segment)", "pass", seed=9
    ),
    "a new segment's name is not synced": Mutant(
        SegmentFiles, "create", "self._disk.sync_dir(self._directory)", "pass"
    ),
    "a segment goes before what was live in it is durable elsewhere": Mutant(
        Compactor,
        "compact",
        "await self._durable()",
        "self._disk.unlink(self._journal.files.path(segment))",
    ),
    "compaction copies the durable state of a row, not its newest": Mutant(
        Compactor, "_move_row", "self._rows.newest(", "self._rows.durable("
    ),
    "compaction forgets a row's promise": Mutant(
        RowTable,
        "move",
        "encode_row_head(key, held.state",
        "encode_row_head(key, held.state._replace(promised=bytes(16))",
    ),
    "compaction copies a blob's record behind its removal": Mutant(
        CommittedBlobs, "leave", "self._leaving.add(key)", "pass", crossed, 3
    ),
    "compaction copies a hint behind its end": Mutant(
        GarbageTable, "leave", "self._leaving.update(seqs)", "pass", crossed, 3
    ),
    "what a hint points to does not count as live": Mutant(
        GarbageTable, "add", "RECORD_COST_BYTES + manifest.length", "0"
    ),
    "a checkpoint claims what is not applied yet": Mutant(
        Upkeep,
        "_begin",
        "self._journal.applied",
        "type(self._journal.applied)(self._journal._segment, self._journal._tail)",
    ),
    "a checkpoint leaves out what counts as live": Mutant(
        Checkpointer, "_freeze", "self._usage.take_touched()", "[]"
    ),
    "a checkpoint leaves out the shards' counts": Mutant(
        Checkpointer, "_freeze", "[shard.item() for shard in shards]", "[]"
    ),
    "the name of the index's file is not synced": Mutant(
        opening, "open_durably", 'disk.sync_dir(f"{path}/index")', "pass"
    ),
    "a blob's file is not synced": Mutant(_StagingFile, "finish", "file.sync()", "pass", few),
    "a blob's name is not synced": Mutant(
        BlobStore, "_put_in_place", "self._disk.sync_dir(self._paths.shelf(name.id[0]))", "pass"
    ),
    "a shelf's name is not synced": Mutant(
        BlobStore, "_make_shelf", "self._disk.sync_dir(self._paths.blobs)", "pass"
    ),
    "a blob's file goes before its removal is durable": Mutant(
        BlobStore,
        "_delete",
        "await self._index.record_blob_removed(name)",
        "await self._run(self._remove, self._paths.blob(name))\n"
        "            await self._index.record_blob_removed(name)",
    ),
    "a blob is recorded before its file has its name": Mutant(
        BlobStore, "_put_in_place", "self._disk.rename(staged, self._paths.blob(name))", "pass"
    ),
    "recovery leaves an unfinished write at the end": Mutant(
        Recovery, "_replay", "file.truncate(found.end)", "pass"
    ),
    "recovery takes torn payloads": Mutant(
        recovery, "read_segment", "if record.start >= proven), stop)", "if False), stop)"
    ),
    "a read answers what is not durable": Mutant(
        RowTable,
        "read",
        "self._certain(shard, message.name)",
        "shard.pending.get(message.name) or self._certain(shard, message.name)",
    ),
    "a refusal does not wait for what it rests on": Mutant(
        RowTable, "_answer", "if name in shard.pending", "if False"
    ),
}


def mutated(mutant: Mutant) -> Callable[..., Any]:
    """The function with its text replaced."""
    source = textwrap.dedent(inspect.getsource(getattr(mutant.where, mutant.name)))
    assert mutant.old in source, "the rule has moved"
    names = dict(getattr(mutant.where, mutant.name).__globals__)
    exec(compile(source.replace(mutant.old, mutant.new), mutant.name, "exec"), names)  # noqa: S102
    function: Callable[..., Any] = names[mutant.name]
    return function


@pytest.mark.parametrize("rule", MUTANTS)
async def test_a_broken_rule_is_found_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[rule]
    monkeypatch.setattr(mutant.where, mutant.name, mutated(mutant))
    for seed in (mutant.seed, *range(SEEDS)):
        if await is_found(mutant, seed):
            return
    pytest.fail(f"{SEEDS} seeds did not show it")


async def is_found(mutant: Mutant, seed: int) -> bool:
    """Whether the run of a seed, or a state after one of its power cuts, shows the fault."""
    rng = random.Random(seed)
    try:
        disk = await mutant.record(seed)
    except AssertionError:
        return True
    for case in share(power_cuts(disk, rng), rng, IMAGES):
        if await find_faults(disk, [case], f"seed {seed}"):
            return True
    return False
