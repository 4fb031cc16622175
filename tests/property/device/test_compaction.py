"""Compaction and checkpoints against a dict: many overwrites and deletes, restarts and power cuts; no
row is lost or old, and room is really freed."""

import asyncio
import random
from collections.abc import Coroutine
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.types import ZERO_STAMP, Ok, Read, Row, RowFlag, Write
from tests.crash.device_rig import SMALL, DeviceRig, LateLane, ManualClock
from tests.crash.invariants import live_bytes
from tests.crash.recording_disk import RecordingDisk

SHARD = b"s"
NAMES = [b"n%d" % number for number in range(12)]
SEGMENTS_SPARE = 3
"""The written one, one that is being filled by compaction, and one not worth it."""

ROUNDS = 12
"""Each checkpoint begins the compaction of one segment at most."""


UNLINK_TURNS = 100
"""By then the lane has removed what a checkpoint made needless."""


async def some_turns(number: int) -> None:
    """Give the loop some turns."""
    for _ in range(number):
        await asyncio.sleep(0)


class CompactionMachine(RuleBasedStateMachine):
    """A device and what a dict says that it holds."""

    @initialize()
    def start(self) -> None:
        """Open an empty device."""
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.rows: dict[bytes, bytes | None] = {}
        self.rig: DeviceRig
        self._open(RecordingDisk())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run on this machine's loop."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the device and the loop."""
        if hasattr(self, "rig"):
            self.run(self.rig.device.close())
            self.runner.close()

    async def _write(self, name: bytes, payload: bytes | None) -> None:
        flags = RowFlag.TOMBSTONE if payload is None else RowFlag.NONE
        data = payload or b""
        message = Write(SHARD, name, self.rig.stamp() + ZERO_STAMP, int(flags), len(data), b"head")
        assert await self.rig.ask(message, data) == Ok()
        self.rows[name] = payload

    async def _read(self, name: bytes) -> tuple[Any, bytes]:
        answer: tuple[Any, bytes] = await self.rig.send(Read(SHARD, name))
        return answer

    async def _write_all(self, names: list[bytes], payload: bytes | None) -> None:
        await asyncio.gather(*(self._write(name, payload) for name in set(names)))

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1), letter=st.binary(min_size=1, max_size=1),
        size=st.sampled_from([1, 300, 2000]), times=st.integers(1, 6),
    )  # fmt: skip
    def overwrite(self, names: list[bytes], letter: bytes, size: int, times: int) -> None:
        """Write some rows again and again."""
        for number in range(times):
            self.run(self._write_all(names, letter * (size + number)))

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1))
    def delete(self, names: list[bytes]) -> None:
        """Delete some rows."""
        self.run(self._write_all(names, None))

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1), turns=st.integers(0, 40))
    def overwrite_while_compacting(self, names: list[bytes], turns: int) -> None:
        """A checkpoint, and writes some turns of the loop later."""

        async def both() -> None:
            checkpoint = asyncio.create_task(self.rig.device.checkpoint())
            await some_turns(turns)
            await self._write_all(names, b"meanwhile")
            await checkpoint

        self.run(both())

    @rule()
    def checkpoint(self) -> None:
        """A checkpoint, and the compaction that it begins."""
        self.run(self.rig.device.checkpoint())
        self.run(self.rig.quiet())

    @rule()
    def free_room(self) -> None:
        """With nothing else to do, compaction leaves no more than a share of dead bytes."""
        for number in range(ROUNDS):
            self.run(self._write(b"tick", b"%d" % number))
            self.checkpoint()
        self.run(some_turns(UNLINK_TURNS))
        status = self.rig.device.status()
        files = [path for path in self.rig.disk.image().files if path.endswith(".seg")]
        assert len(files) == status.journal_segments
        spare = SEGMENTS_SPARE * 2 * SMALL.segment_bytes
        assert status.journal_bytes <= status.live_bytes / SMALL.compact_below**2 + spare
        self.run(self.rig.device.checkpoint())
        stated = {n: live for n, live in self.rig.device._tables.usage.live.items() if live}
        assert stated == live_bytes(self.rig)

    @rule()
    def restart(self) -> None:
        """Stop in order, start again."""
        self.run(self.rig.device.close())
        self._open(self.rig.disk)

    @rule(all_kept=st.booleans(), lose_index=st.booleans())
    def cut_power(self, all_kept: bool, lose_index: bool) -> None:
        """Lose what is not durable, or nothing; perhaps the index as well."""
        self.rig.crash()
        self.run(asyncio.sleep(0))
        crashes = self.rig.disk.crashes(len(self.rig.disk.events))
        image = crashes.most() if all_kept else crashes.least()
        if lose_index:
            image.index.clear()
        self._open(RecordingDisk(image))

    def _open(self, disk: RecordingDisk) -> None:
        self.clock.seconds += 1  # stamps go on
        lanes = partial(LateLane, random.Random(self.clock.seconds))
        self.rig = self.run(DeviceRig.open(disk, self.clock, lanes=lambda name: lanes()))

    @invariant()
    def rows_are_those_of_the_dict(self) -> None:
        """Every row, with its bytes."""
        for name, payload in self.rows.items() if hasattr(self, "rig") else ():
            row, data = self.run(self._read(name))
            assert isinstance(row, Row)
            assert (None if row.flags & RowFlag.TOMBSTONE else data) == payload


TestCompaction = CompactionMachine.TestCase
TestCompaction.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
