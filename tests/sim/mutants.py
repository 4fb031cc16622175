"""Bugs put back on purpose: each must make some seed fail, or the simulation is blind to it.

A mutant replaces one or two functions by what a plausible mistake would have made of them. `make
sim-mutants` plays seeds with each until one fails, and says which one and which checker noticed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from proxy.core import operations, placement, register
from proxy.core.blob_sink import BlobSink
from proxy.core.deletion import Deletion
from proxy.core.errors import ContainerNotEmpty, StoreError
from proxy.core.operations import AgreeingRead, AgreeingWrite
from proxy.core.register import End, Found, QuorumRead, Refused, Update
from proxy.core.shard_scan import ShardScan
from proxy.core.types import Container, ContainerHead
from proxy.repair import audit, collect, ring_change
from proxy.repair.audit import Auditor
from proxy.repair.collect import Collector
from proxy.repair.ring_change import Act, Needed
from ring.epochs import is_joint
from ring.types import ROWS
from storage import replica
from storage.device import blob_format, recovery
from storage.device.exchange import Exchange
from storage.device.journal import Journal
from storage.fence import EpochDevice
from storage.replica import OK, RowState, Verdict
from storage.types import STAMP_BYTES, No, Ok, Row, RowAnswer
from tests.sim.history import Violation
from tests.sim.member import Membership
from tests.sim.node import Node
from tests.sim.scenes import scene_of
from tests.sim.world import Failure, play

SCENE_REACH = 4
"""A scene is played by a few seeds of fifty alone, and not each of them hits the moment."""


class Change(NamedTuple):
    """`name` of `owner` becomes `new`, made from what it was."""

    owner: Any
    name: str
    new: Callable[[Any], Any]


class Mutant(NamedTuple):
    """A bug. what: in one line."""

    name: str
    what: str
    changes: tuple[Change, ...]
    scene: str = ""
    """The scene that shows it; only seeds that play it are tried. "": all are."""


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The bug is there inside."""
    with ExitStack() as stack:
        for owner, name, new in mutant.changes:
            old = vars(owner)[name]
            setattr(owner, name, new(old))
            stack.callback(setattr, owner, name, old)
        yield


def _instead(function: Any) -> Callable[[Any], Any]:
    """A change that does not need what was there."""
    return lambda _old: function


# -- the journal and the blobs ---------------------------------------------------------------------


def _write_without_sync(journal: Any, batch: Any) -> tuple[float, int]:
    if batch.opens_segment:
        journal._open_segment(batch.segment)
    journal._writing.append(batch.buffers)
    return 0.0, journal._disk.free_bytes(journal._directory)


def _all_of_it(read_segment: Any) -> Any:
    def read(view: memoryview, *args: Any, **kwargs: Any) -> Any:
        return read_segment(view, *args, **kwargs)._replace(end=len(view))

    return read


def _committed_later(commit: Any) -> Any:
    async def begun(sink: BlobSink) -> None:
        asyncio.get_running_loop().create_task(_quietly(commit(sink)))

    return begun


async def _quietly(work: Any) -> None:
    try:
        await work
    except Exception:
        return


# -- the row protocol ------------------------------------------------------------------------------


def _accept_whatever_was_promised(state: RowState, version: bytes) -> Verdict:
    stamp = version[:STAMP_BYTES]
    if version == state.version or version in state.earlier:
        return Verdict(None, OK)
    if stamp >= state.version[:STAMP_BYTES] and version > state.version:
        promised = max(state.promised, version[STAMP_BYTES:])
        return Verdict(replica._stored(state, version, promised), OK)
    return Verdict(None, No(replica._highest(state), never_held=False))


def _every_no_is_never(add: Any) -> Any:
    def added(tally: Any, clock: Any, member: int, answer: RowAnswer) -> None:
        add(tally, clock, member, answer)
        if type(answer) is No:
            tally.never |= 1 << member

    return added


def _believed(take_row: Any) -> Any:
    def taken(read: AgreeingRead, answer: RowAnswer, payload: bytes) -> None:
        take_row(read, answer, payload)
        if type(answer) is Row and not read.over:
            read._compare(answer, answer)

    return taken


def _first_ok(write: Any, answer: RowAnswer, _payload: bytes) -> None:
    write.answers.append(answer)
    write._oks += type(answer) is Ok
    if write._oks or len(write.answers) == operations.AGREEING_OF:
        write._end()


def _found_at_once(read: Any, member: int) -> End:
    found: Found = read._found(read._rows[member])
    return found


def _refused_at_once(_update: Update, _best: Any, reason: Exception) -> Refused:
    return Refused(reason)


def _forgetting_what_was_sent(on_promised: Any) -> Any:
    def promised(update: Any) -> Any:
        update._sent = False
        return on_promised(update)

    return promised


def _one_page(majority: Any) -> Any:
    async def pages(scan: ShardScan, asked: Any) -> Any:
        return (await majority(scan, asked))[:1]

    return pages


async def _unsealed(deletion: Deletion, container: Container, head: ContainerHead) -> None:
    if await deletion._empty(head):
        await deletion._bury(container, head)
        return
    await deletion._reopen(container, head)
    raise ContainerNotEmpty(container.name)


async def _nothing(*_: Any) -> None:
    return


# -- ring changes ----------------------------------------------------------------------------------


def _settled_at_once(needed: Any) -> Any:
    def found(ring: Any, progress: Any, *, balanced: bool) -> Needed:
        act: Needed = needed(ring, progress, balanced=balanced)
        joint = is_joint(ring, ROWS) and act.act is Act.WAIT
        return act._replace(act=Act.SETTLE) if joint else act

    return found


def _of_the_old_set_alone(joint: Any) -> Any:
    return lambda size, old, _new, order=None: joint(size, old, old, order)


def _in_any_epoch(device: Any, message: Any, payload: bytes, deadline: float, deliver: Any) -> None:
    device._send(message, payload, deadline, deliver)


def _before_it_is_durable(_exchange: Any, work: Any, _deadline: float, deliver: Any) -> None:
    work(deliver)


# -- what removes ----------------------------------------------------------------------------------


def _without_grace(init: Any) -> Any:
    def made(worker: Any, *args: Any, **kwargs: Any) -> None:
        init(worker, *args, **kwargs)
        worker._grace_s = worker._orphan_grace_s = 0.0

    return made


MUTANTS = (
    Mutant(
        "ack-before-sync",
        "the journal answers before its sync",
        (Change(Journal, "_write", _instead(_write_without_sync)),),
        scene="blackout",
    ),
    Mutant(
        "no-promise-check",
        "a replica accepts ballots below the one it promised",
        (Change(replica, "on_accept", _instead(_accept_whatever_was_promised)),),
        scene="duel",
    ),
    Mutant(
        "refused-write-tried-again",
        "a plain write that a majority refused is tried again, whatever they held",
        (Change(register._Tally, "add", _every_no_is_never),),
        scene="late-copy",
    ),
    Mutant(
        "read-quorum-of-one",
        "a read believes the first replica",
        (Change(AgreeingRead, "take_row", _believed),),
        scene="missed-write",
    ),
    Mutant(
        "write-quorum-of-one",
        "a plain write is acknowledged when one replica has it",
        (
            Change(AgreeingWrite, "take", _instead(_first_ok)),
            Change(AgreeingWrite, "stored", _instead(property(lambda write: write._oks > 0))),
        ),
    ),
    Mutant(
        "no-confirmation",
        "a reader answers the highest version without confirming it",
        (Change(QuorumRead, "_confirm_if_whole", _instead(_found_at_once)),),
        scene="lone-write",
    ),
    Mutant(
        "refused-unconfirmed",
        "a failed condition is answered from a version that may vanish",
        (Change(Update, "_refuse", _instead(_refused_at_once)),),
        scene="lone-write",
    ),
    Mutant(
        "update-simply-tried-again",
        "a conditional write whose accept was cut off is decided anew",
        (Change(Update, "_on_promised", _forgetting_what_was_sent),),
        scene="duel",
    ),
    Mutant(
        "stamps-repeated",
        "a restarted process stamps under its old incarnation",
        (Change(Node, "incarnation", _instead(lambda node, _: node.name.encode().ljust(8, b"-"))),),
        scene="clock-set-back",
    ),
    Mutant(
        "listing-of-one",
        "a listing believes one replica",
        (Change(ShardScan, "_majority", _one_page),),
        scene="missed-write",
    ),
    Mutant(
        "no-seal",
        "a container is deleted without sealing its shards",
        (
            Change(Deletion, "_go_on", _instead(_unsealed)),
            Change(ShardScan, "sealed_page", _instead(vars(ShardScan)["page"])),
        ),
    ),
    Mutant(
        "torn-tail-accepted",
        "a replay does not cut off the torn end of a journal",
        (Change(recovery, "read_segment", _all_of_it),),
        scene="torn-journal",
    ),
    Mutant(
        "row-before-blobs",
        "an object's row is written before its blobs are durable",
        (Change(BlobSink, "commit", _committed_later),),
        scene="blackout",
    ),
    Mutant(
        "checksum-not-checked",
        "blobs are served unverified",
        (Change(blob_format, "first_bad_chunk", _instead(lambda *_: None)),),
        scene="rotten-disk",
    ),
    Mutant(
        "newcomer-unsettled",
        "an epoch ends before its newcomers have settled",
        (Change(ring_change, "needed", _settled_at_once),),
        scene="newcomer-cut-off",
    ),
    Mutant(
        "joint-old-set-only",
        "a joint epoch asks the old set alone",
        (Change(placement, "joint", _of_the_old_set_alone),),
        scene="joint-for-long",
    ),
    Mutant(
        "no-epoch-fence",
        "devices answer in any epoch",
        (Change(EpochDevice, "send", _instead(_in_any_epoch)),),
        scene="behind-the-ring",
    ),
    Mutant(
        "no-flush",
        "neither adoption nor a pull waits until what was taken in the last epoch is durable",
        (
            Change(Membership, "flush", _instead(_nothing)),
            Change(Exchange, "_settled", _instead(_before_it_is_durable)),
        ),
        scene="sync-across-epochs",
    ),
    Mutant(
        "collector-without-grace",
        "replaced blobs are removed at once",
        (
            Change(Collector, "__init__", _without_grace),
            Change(collect, "look_again_s", _instead(lambda _grace_s: 0.2)),
        ),
        scene="slow-reader",
    ),
    Mutant(
        "audit-without-grace",
        "blobs without a row are removed at once",
        (
            Change(Auditor, "__init__", _without_grace),
            Change(audit, "again_s", _instead(lambda _grace_s: 0.2)),
        ),
    ),
)


def hunt(mutant: Mutant, seeds: range) -> Failure | None:
    """The first of `seeds` that fails with the bug; None where it gets through all.

    Where a scene is named, only seeds that play it are tried, and SCENE_REACH times as far.
    """
    if mutant.scene:
        reach = range(seeds.start, seeds.start + SCENE_REACH * len(seeds))
        tried = [seed for seed in reach if scene_of(seed) == mutant.scene]
    else:
        tried = list(seeds)
    with applied(mutant):
        for seed in tried:
            try:
                play(seed)
            except Failure as failure:
                if _is_found(failure.violation):
                    return failure
    return None


def _is_found(violation: Violation) -> bool:
    """False for an error that is none of the store's: it may be the mutant's own, made for old code."""
    return violation.checker != "errors" or isinstance(violation.__cause__, StoreError)
