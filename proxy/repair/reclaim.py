"""reclaim: forgets tombstones that nobody needs any more.

A tombstone is kept so that what it deleted can't come back from a replica that missed the delete. It
may go when no such replica is left: where *all* replicas of its partition answer, in one ring epoch,
and hold just this version, and it is older than the reclaim age. A replica that is away, or differs,
or is only about to become one (the partition is on the move) keeps it everywhere.

Nothing late revives what is gone then. A message carries its deadline, at most eleven minutes, and is
dropped after it; the reclaim age is days, and no replica forgets what is younger than an hour, whatever
it is asked. A device that was away for longer comes back as a new, empty one, and one that no longer
belongs to a partition drops what it has of it (`leftovers.py`). Each replica looks again for itself: a
row that was written or promised meanwhile stays. Where one forgets and another does not (it was cut off
just then, or has promised the row to somebody), sync gives the tombstone back, and a later round takes
it again.

The hints by which blobs are collected don't hang on the tombstone: each replica keeps them, with the
manifest, from the moment at which the row was replaced, until the collector has dealt with them.

Seal rows stay, and all of sealed shards: a seal's tombstone says which deletion was the last.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from proxy.core.asking import ASK_TIME_S, ask, ask_all, shards_of
from proxy.core.placement import Placement, Replicas
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from runtime.clock import Clock, stamp_ns
from storage.contract import DeviceFault
from storage.types import (
    FORGET_ROWS_MAX,
    SCAN_ROWS_MAX,
    STAMP_BYTES,
    Forget,
    Ok,
    Page,
    RowFlag,
    Scan,
    ScannedRow,
    Summarize,
    Summary,
)

RECLAIM_AGE_S: Final = 7 * 86400.0

AGAIN_S: Final = 3600.0
"""Between two rounds."""

PARTITIONS_PER_UNIT: Final = 4096

ROWS_PER_PAGE: Final = 1000
"""Live rows of a page that is looked through for tombstones."""


class _Part(NamedTuple):
    """A shard from a name on."""

    partition: int
    shard: bytes
    start: bytes = b""


def is_old(version: bytes, before_ns: int) -> bool:
    """Whether a version was written, and decided, before an instant."""
    return max(stamp_ns(version), stamp_ns(version[STAMP_BYTES:])) < before_ns


def reclaimable(pages: Sequence[Page], before_ns: int) -> list[tuple[bytes, bytes]]:
    """(name, version) of the old tombstones that all pages have. Pure."""
    first, *others = (
        {row.name: row for row in page.rows if row.flags & RowFlag.TOMBSTONE} for page in pages
    )

    def everywhere(row: ScannedRow) -> bool:
        twins = [page.get(row.name) for page in others]
        return all(twin is not None and twin.version == row.version for twin in twins)

    old = [row for row in first.values() if is_old(row.version, before_ns)]
    return [(row.name, row.version) for row in old if everywhere(row)]


class Reclaim:
    """Reclaims in the partitions whose first replica is a device of this process.

    owned: ids of these devices; they may change. age_s: how old a tombstone must be.
    """

    name = "reclaim"

    def __init__(
        self,
        ring: Callable[[], Ring],
        placement: Placement,
        owned: Collection[int],
        clock: Clock,
        pace: Pace,
        age_s: float = RECLAIM_AGE_S,
    ) -> None:
        self.pace = pace
        self.owned = owned
        self._ring = ring
        self._placement = placement
        self._clock = clock
        self._age_s = age_s
        self._next = 0
        self._partitions: deque[int] = deque()
        self._parts: deque[_Part] = deque()
        self._tally = Tally(clock)
        self.forgotten = 0
        """Tombstones that all replicas were told to forget, and did or had to keep."""

    async def work(self) -> Worked:
        """A page of a shard, the shards of a partition, or the next partitions."""
        if self._parts:
            await self._look_through(self._parts.popleft())
        elif self._partitions:
            await self._list(self._partitions.popleft())
        else:
            if self._next == 0:
                self._tally.begin()
            await self._find()
        return Worked.BUSY if self._parts or self._partitions or self._next else Worked.IDLE

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            doing="forgetting old tombstones",
            done=self._tally.done,
            left=len(self._partitions) + len(self._parts),
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            counts={"tombstones_forgotten": self.forgotten},
        )

    def _leads(self, replicas: Replicas) -> bool:
        return not replicas.joint and replicas.devices[0].device_id in self.owned

    async def _find(self) -> None:
        """Queue the next partitions that may have tombstones."""
        ring, first = self._ring(), self._next
        count = min(PARTITIONS_PER_UNIT, ring.partition_count - first)
        found = {p: self._placement.replicas_of(p) for p in range(first, first + count)}
        mine = {p: replicas.devices[0] for p, replicas in found.items() if self._leads(replicas)}
        devices = {device.device_id: device for device in mine.values()}
        message = Summarize(ring.salt, ring.part_power, first, count)
        asked = ((device, message) for device in devices.values())
        for number, answer in zip(devices, await ask_all(self._clock, ASK_TIME_S, asked), strict=True):
            for summary in answer.partitions if type(answer) is Summary else []:
                leader = mine.get(summary.partition)
                if leader is not None and leader.device_id == number and summary.rows > summary.live:
                    self._partitions.append(summary.partition)
        self._next = 0 if first + count >= ring.partition_count else first + count

    async def _list(self, partition: int) -> None:
        """Queue a partition's shards that may have tombstones."""
        ring, replicas = self._ring(), self._placement.replicas_of(partition)
        if not self._leads(replicas):
            return
        try:
            listed = await shards_of(self._clock, ASK_TIME_S, replicas.devices[0], ring, partition)
        except DeviceFault:
            return
        for shard in listed:
            if shard.rows > shard.live and not shard.sealed:
                self._parts.append(_Part(partition, shard.key))

    async def _look_through(self, part: _Part) -> None:
        """Reclaim in one page of a shard, and queue the next one."""
        replicas = self._placement.replicas_of(part.partition)
        pages = await self._pages(part, replicas) if self._leads(replicas) else []
        if not pages:
            return
        upto = min((page.covered_to for page in pages if page.covered_to), default=b"")
        rows = reclaimable(pages, self._before_ns())
        rows = [row for row in rows if not upto or row[0] < upto]
        for at in range(0, len(rows), FORGET_ROWS_MAX):
            await self._forget(part.shard, replicas, rows[at : at + FORGET_ROWS_MAX])
        if upto:
            self._parts.appendleft(part._replace(start=upto))

    async def _pages(self, part: _Part, replicas: Replicas) -> list[Page]:
        """What all replicas hold of the same names; nothing where one can't say, or is sealed."""
        scan = Scan(part.shard, part.start, b"", ROWS_PER_PAGE)
        first, *others = replicas.devices
        page, _ = await ask(self._clock, ASK_TIME_S, first, scan)
        if type(page) is not Page:
            return []
        scan = Scan(part.shard, part.start, page.covered_to, SCAN_ROWS_MAX)
        answers = await ask_all(self._clock, ASK_TIME_S, ((other, scan) for other in others))
        pages = [page, *(answer for answer in answers if type(answer) is Page)]
        complete = len(pages) == len(replicas.devices) and not any(page.sealed for page in pages)
        return pages if complete else []

    def _before_ns(self) -> int:
        return self._clock.now_ns() - int(self._age_s * 1e9)

    async def _forget(self, shard: bytes, replicas: Replicas, rows: list[tuple[bytes, bytes]]) -> None:
        message = Forget(shard, rows, self._before_ns())
        asked = ((device, message) for device in replicas.devices)
        answers = await ask_all(self._clock, ASK_TIME_S, asked)
        if all(type(answer) is Ok for answer in answers):
            self.forgotten += len(rows)
            self._tally.did(len(rows), 0)
