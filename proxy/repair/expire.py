"""expire: deletes objects whose time is over (Swift's X-Delete-At), so that their room comes back.

Readers refuse them by themselves from that second on; nobody waits for this. Each device's worker walks
the object shards of which it holds the first replica, so that every row is looked at by one. It has no
index of times: a walk decodes the head of each row, some 5 us of CPU, and goes no faster than
ROWS_PER_S: a million rows of a device are a few minutes, a hundred million six hours. What has been
found is deleted under the condition that the row is still that very version: whoever has put the object
anew, or changed its time, comes first.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.asking import WALK_TIME_S, shards_of, told
from proxy.core.errors import StoreError
from proxy.core.object_rows import decode_head
from proxy.core.placement import ROWS_PLACEMENT
from proxy.core.register import Value, Versioned, tombstone
from proxy.core.rows import Rows, SealedShard
from proxy.core.shards import is_object_shard
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.rebuild import Rings
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.contract import DeviceClient
from storage.types import Page, RowFlag, Scan, ScannedRow

ROWS_PER_UNIT: Final = 500
"""Rows of one page."""

ROWS_PER_S: Final = 5_000.0

PARTITIONS_PER_UNIT: Final = 32
"""Partitions looked at in one unit that finds no rows."""

LOOK_AGAIN_S: Final = 3600.0

NONCE_BYTES: Final = 16


class _ChangedError(Exception):
    """The row is not what was found any more."""


class Expirer:
    """Walks over one device of this process. Its pace counts rows."""

    name = "expire"

    def __init__(
        self,
        device: DeviceClient,
        rings: Rings,
        rows: Rows,
        clock: Clock,
        randomness: Randomness,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self._device = device
        self._rings = rings
        self._rows = rows
        self._clock = clock
        self._randomness = randomness
        self._tally = Tally(clock)
        self._ring: Ring | None = None
        self._partitions: list[int] = []
        self._shards: list[bytes] = []
        self._start = b""
        self.expired = 0
        """Objects deleted so far."""
        self._undecided = 0

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device.device_id}",
            doing="looking for objects whose time is over"
            if self._ring
            else "no object's time is over",
            done=self._tally.done,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            counts={"objects_expired": self.expired, "expiries_undecided": self._undecided},
        )

    async def work(self) -> Worked:
        """A page of rows, or some partitions without any."""
        ring = self._rings()
        if self._ring is None or self._ring.epoch != ring.epoch:
            self._begin(ring)
        if self._shards:
            await self._look_at(self._shards[-1])
            return Worked.BUSY
        for _ in range(min(PARTITIONS_PER_UNIT, len(self._partitions))):
            self._shards = await self._object_shards(ring, self._partitions.pop())
            if self._shards:
                return Worked.BUSY
        if self._partitions:
            return Worked.BUSY
        self._ring = None
        return Worked.IDLE

    def _begin(self, ring: Ring) -> None:
        self._ring = ring
        first = ring.tables[ROWS_PLACEMENT][0]
        self._partitions = (first == self._device.device_id).nonzero()[0].tolist()
        self._shards, self._start = [], b""
        self._tally.begin()

    async def _object_shards(self, ring: Ring, partition: int) -> list[bytes]:
        found = await shards_of(self._clock, WALK_TIME_S, self._device, ring, partition)
        return [shard.key for shard in found if shard.live and is_object_shard(shard.key)]

    async def _look_at(self, shard: bytes) -> None:
        """A page of a shard. A sealed one's objects are on their way elsewhere, or gone."""
        begun = self._clock.monotonic()
        message = Scan(shard, self._start, b"", ROWS_PER_UNIT)
        page = await told(self._clock, WALK_TIME_S, self._device, message, Page)
        for row in self._over(page.rows):
            if not page.sealed:
                await self._try_expire(shard, row)
        self._tally.did(len(page.rows), 0)
        self._start = page.covered_to
        if not page.covered_to or page.sealed:
            self._shards.pop()
            self._start = b""
        await self.pace.spend(self._clock.monotonic() - begun, len(page.rows))

    def _over(self, rows: list[ScannedRow]) -> Iterator[ScannedRow]:
        now_s = self._clock.now_ns() // 10**9
        for row in rows:
            if not row.flags & RowFlag.TOMBSTONE and 0 < _delete_at_s(row.head) <= now_s:
                yield row

    async def _try_expire(self, shard: bytes, row: ScannedRow) -> None:
        value = tombstone(self._randomness.token(NONCE_BYTES))

        def decide(found: Versioned) -> Value:
            if found.version != row.version:
                raise _ChangedError
            return value

        try:
            await self._rows.update(shard, row.name, decide)
        except _ChangedError:
            return
        except (StoreError, SealedShard):
            self._undecided += 1  # the next walk meets it again
            return
        self.expired += 1


def _delete_at_s(head: bytes) -> int:
    """When an object's time is over; 0 for never, and for a head that can't be read."""
    try:
        return decode_head(head).delete_at_s
    except msgspec.MsgspecError:
        return 0
