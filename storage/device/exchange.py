"""What replicas ask each other of their rows: digests and versions for sync, whole rows for settling.

Long answers are made in slices, so that requests come first. Nothing here is on a client's way.

What a Pull or a list of shards says holds all that was decided before it came, pending or not: a
newcomer that missed a row which is acknowledged a moment later would let a majority forget it. So
those wait until what is queued is durable.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from runtime.tasks import TaskOwner
from storage.contract import Deliver
from storage.device import walk
from storage.device.held import Held, IndexDamagedError
from storage.device.items import Waiter
from storage.device.journal import Journal
from storage.device.payloads import Payloads
from storage.device.register import ERASING, Room, RowTable
from storage.device.shards import Shard
from storage.types import (
    DAMAGED,
    LEAVES,
    PULL_BYTES_MAX,
    PULL_ROWS_MAX,
    SHARDS_PER_LIST_MAX,
    VERSIONS_ROWS_MAX,
    Failed,
    Fault,
    Install,
    Installed,
    LeafDigests,
    Leaves,
    ListShards,
    Pull,
    Pulled,
    PulledRow,
    RowAnswer,
    ShardList,
    ShardSummary,
    Summarize,
    Summary,
    VersionList,
    Versions,
)

SLICE_ROWS: Final = 2000
"""Versions read per turn of the loop: about a millisecond."""


class Later:
    """Something that is asked of what will be durable: done when all that is queued before it is."""

    __slots__ = ("_work", "deadline", "deliver")

    def __init__(self, work: Callable[[Deliver], None], deadline: float, deliver: Deliver) -> None:
        self._work = work
        self.deadline = deadline
        self.deliver: Deliver | None = deliver

    def apply(self) -> None:
        """Nothing of its own."""

    def answer(self) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            self._work(deliver)

    def fail(self, failed: Failed) -> None:
        self._tell(failed)

    def expire(self) -> None:
        self._tell(Failed(Fault.DEADLINE))

    def _tell(self, answer: RowAnswer) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(answer, b"")


class Exchange:
    """Answers other replicas. on_damage: told when the index fails. on_failure: of a task's error."""

    def __init__(
        self,
        rows: RowTable,
        journal: Journal,
        room: Room,
        payloads: Payloads,
        on_damage: Callable[[Exception], None],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._rows = rows
        self._journal = journal
        self._room = room
        self._payloads = payloads
        self._on_damage = on_damage
        self._tasks = TaskOwner("exchange", on_failure)

    async def close(self) -> None:
        """Give up what is under way; it is answered."""
        await self._tasks.close()

    def _settled(self, work: Callable[[Deliver], None], deadline: float, deliver: Deliver) -> None:
        """Do `work` when all that was decided so far is durable."""
        if self._journal.idle:
            work(deliver)
        else:
            guarded = self._guarded(work)
            self._journal.follow(Later(guarded, deadline, deliver))

    def _guarded(self, work: Callable[[Deliver], None]) -> Callable[[Deliver], None]:
        def carry_out(deliver: Deliver) -> None:
            try:
                work(deliver)
            except IndexDamagedError as error:
                self._on_damage(error)
                deliver(Failed(Fault.CORRUPT, str(error)), b"")

        return carry_out

    def _spawn(self, name: str, work: Coroutine[None, None, RowAnswer], deliver: Deliver) -> None:
        task = self._tasks.spawn(name, work)
        task.add_done_callback(lambda ended: deliver(_outcome(ended), b""))

    # -- partitions and shards -------------------------------------------------------------------

    def summarize(
        self, message: Summarize, _payload: bytes, _deadline: float, deliver: Deliver
    ) -> None:
        """Sum up partitions, as far as they are durable."""
        catalog = self._rows.noted()
        found = catalog.summaries(message.salt, message.power, message.first, message.count)
        deliver(Summary(found), b"")

    def list_shards(
        self, message: ListShards, _payload: bytes, deadline: float, deliver: Deliver
    ) -> None:
        """List a partition's shards."""
        self._settled(lambda tell: tell(self._shards(message), b""), deadline, deliver)

    def _shards(self, message: ListShards) -> ShardList:
        keys = self._rows.noted().keys(message.salt, message.power, message.partition)
        behind = [key for key in keys if key > message.after]
        found = [self._shard_summary(key) for key in behind[:SHARDS_PER_LIST_MAX]]
        return ShardList(found, len(behind) > SHARDS_PER_LIST_MAX)

    def _shard_summary(self, key: bytes) -> ShardSummary:
        shard = self._rows.look(key)
        return ShardSummary(key, shard.digest, shard.names, shard.rows, shard.size_bytes, shard.sealed)

    # -- whole rows --------------------------------------------------------------------------------

    def pull(self, message: Pull, _payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Give a part of a shard, payloads included."""
        self._settled(lambda tell: self._pull(message, tell), deadline, deliver)

    def _pull(self, message: Pull, deliver: Deliver) -> None:
        shard = self._rows.shard(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        rows, next_start = self._some_rows(shard, message)
        with_payload = [held for _, held in rows if held.length]
        places = [(h.segment, h.offset, h.length, h.checksum) for h in with_payload]

        def done(found: list[bytes | None]) -> None:
            coming = iter(found)
            payloads = [next(coming) if held.length else b"" for _, held in rows]
            pulled = [_pulled(*row, data) for row, data in zip(rows, payloads, strict=True)]
            deliver(Pulled(pulled, next_start), b"".join(data for data in payloads if data))

        if places:
            self._payloads.read_many(places, done)
        else:
            done([])

    def _some_rows(self, shard: Shard, message: Pull) -> tuple[list[tuple[bytes, Held]], bytes]:
        """What one answer takes, and the name that the next one begins with."""
        rows: list[tuple[bytes, Held]] = []
        size, limit = 0, max(1, min(message.limit, PULL_ROWS_MAX))
        for name, held in walk.walk_known(self._rows.index, shard, message.start):
            size += len(name) + len(held.head) + held.length
            if len(rows) == limit or (rows and size > PULL_BYTES_MAX):
                return rows, name
            rows.append((name, held))
        return rows, b""

    def install(self, message: Install, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Take over rows of other replicas."""
        shard = self._rows.shard(message.shard)
        refused = ERASING if shard.erasing else self._room.refusal()
        if refused is not None:
            deliver(refused, b"")
            return
        at, names = 0, []
        for row in message.rows:
            if not self._rows.take_over(shard, row, bytes(payload[at : at + row.payload_bytes])):
                names.append(row.name)
            at += row.payload_bytes
        self._journal.follow(Waiter(Installed(names), deadline, deliver))

    # -- versions ----------------------------------------------------------------------------------

    def leaves(self, message: Leaves, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """Digest a shard's leaves."""
        self._spawn("leaves", self._leaves(message.shard), deliver)

    async def _leaves(self, key: bytes) -> RowAnswer:
        digests, start, more = [0] * LEAVES, b"", True
        while more:
            shard = self._rows.shard(key)
            if shard.erasing:
                return ERASING
            start = walk.fold_leaves(self._rows.index, shard, start, SLICE_ROWS, digests)
            more = start != b""
            await asyncio.sleep(0)
        return LeafDigests(digests)

    def versions(self, message: Versions, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """List the versions in some leaves of a shard."""
        self._spawn("versions", self._versions(message), deliver)

    async def _versions(self, message: Versions) -> RowAnswer:
        wanted, rows = frozenset(message.leaves), list[tuple[bytes, bytes]]()
        start, more = message.start, True
        while more:
            shard = self._rows.shard(message.shard)
            if shard.erasing:
                return ERASING
            some, start = walk.versions_in(self._rows.index, shard, start, SLICE_ROWS, wanted)
            rows += some
            if len(rows) > VERSIONS_ROWS_MAX:
                return VersionList(rows[:VERSIONS_ROWS_MAX], rows[VERSIONS_ROWS_MAX][0])
            more = start != b""
            await asyncio.sleep(0)
        return VersionList(rows, b"")


def _outcome(task: "asyncio.Task[RowAnswer]") -> RowAnswer:
    if task.cancelled() or task.exception() is not None:
        return Failed(Fault.OFFLINE, "the device stopped answering")
    return task.result()


def _pulled(name: bytes, held: Held, payload: bytes | None) -> PulledRow:
    state = held.state
    return PulledRow(
        name,
        state.version,
        state.promised,
        list(state.earlier),
        held.flags,
        held.size,
        held.head,
        DAMAGED if payload is None else len(payload),
    )
