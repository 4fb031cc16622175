"""census: counts by partition how many objects and blobs the devices of this process hold.

A repair worker by its shape, though it repairs nothing: a few partitions at a time, when requests leave
room. Health holds the counts of all processes against the ring (`tools/health/copies.py`).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from proxy.core.shards import is_object_shard
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from ring.types import ROWS, IntArray
from runtime.clock import Clock
from storage.contract import DeviceClient, DeviceFault
from storage.types import (
    Failed,
    Fault,
    ListShards,
    RowAnswer,
    RowMessage,
    ShardList,
    Summarize,
    Summary,
)
from tools.health.report import Census, Held, pack

AGAIN_S: Final = 60.0
"""Between two counts."""

PARTITIONS_AT_ONCE: Final = 256

CALL_TIME_S: Final = 30.0


class _Slice(NamedTuple):
    """What one unit of work counts: so many partitions from `first` on."""

    device: DeviceClient
    placement: str
    first: int
    partitions: int


class CensusTaker:
    """Counts for one process. ring: as it is now; a count during which it changes begins anew."""

    name = "census"

    def __init__(
        self,
        ring: Callable[[], Ring],
        owned: Mapping[int, DeviceClient],
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self.census: Census | None = None
        """The last one that was finished."""
        self._ring = ring
        self._owned = owned
        self._clock = clock
        self._counting: _Count | None = None
        self._rounds = 0

    async def work(self) -> Worked:
        """Count a slice. A device that can't tell is left out: its partitions count as not counted."""
        ring = self._ring()
        if self._counting is None or self._counting.ring is not ring:
            self._counting = _Count(ring, self._owned)
        counting = self._counting
        piece = counting.next_slice()
        if piece is not None:
            try:
                counting.take(piece, await self._counted(ring, piece))
            except DeviceFault:
                counting.failed.add((piece.device.device_id, piece.placement))
            return Worked.BUSY
        self.census = counting.census(self._clock.now_ns())
        self._counting = None
        self._rounds += 1
        return Worked.IDLE

    async def _counted(self, ring: Ring, piece: _Slice) -> dict[int, int]:
        """Things by partition, those that the device has any of. Raises DeviceFault."""
        if piece.placement == ROWS:
            return await self._counted_rows(ring, piece)
        groups = await piece.device.group_blobs(
            ring.salt, ring.part_power, piece.placement, piece.first, piece.partitions
        )
        found: dict[int, int] = {}
        for group in groups:
            # Several numbers of one partition are there only while blobs move: some are the same.
            found[group.partition] = max(found.get(group.partition, 0), group.blobs)
        return found

    async def _counted_rows(self, ring: Ring, piece: _Slice) -> dict[int, int]:
        asked = Summarize(ring.salt, ring.part_power, piece.first, piece.partitions)
        summary = await self._asked(piece.device, asked)
        assert isinstance(summary, Summary)
        return {
            one.partition: await self._objects(ring, piece.device, one.partition)
            for one in summary.partitions
            if one.live
        }

    async def _objects(self, ring: Ring, device: DeviceClient, partition: int) -> int:
        """Objects in the object shards of a partition. A sealed one is not counted: its container is
        being deleted, or its rows are on their way to the shards of the next generation."""
        found, after, more = 0, b"", True
        while more:
            listed = await self._asked(device, ListShards(ring.salt, ring.part_power, partition, after))
            assert isinstance(listed, ShardList)
            found += sum(
                shard.live for shard in listed.shards if is_object_shard(shard.key) and not shard.sealed
            )
            more = listed.more and bool(listed.shards)
            after = listed.shards[-1].key if listed.shards else after
        return found

    async def _asked(self, device: DeviceClient, message: RowMessage) -> RowAnswer:
        """Raises DeviceFault."""
        answered: asyncio.Future[RowAnswer] = asyncio.get_running_loop().create_future()

        def deliver(answer: RowAnswer, _payload: bytes) -> None:
            if not answered.done():
                answered.set_result(answer)

        device.send(message, b"", self._clock.monotonic() + CALL_TIME_S, deliver)
        answer = await answered
        if isinstance(answer, Failed):
            raise DeviceFault(Fault(answer.fault), answer.text)
        return answer

    def status(self) -> WorkerStatus:
        """See Worker."""
        left = len(self._counting.slices) if self._counting is not None else 0
        return WorkerStatus(
            name=self.name,
            doing="counting objects and blobs by partition",
            left=left,
            counts={"censuses": self._rounds},
        )


class _Count:
    """One count on its way."""

    def __init__(self, ring: Ring, owned: Mapping[int, DeviceClient]) -> None:
        self.ring = ring
        self.failed: set[tuple[int, str]] = set()
        self.slices = list(_slices(ring, owned))[::-1]
        self._found: dict[tuple[int, str], dict[int, int]] = {
            (number, placement.name): {} for number in owned for placement in ring.placements
        }

    def next_slice(self) -> _Slice | None:
        """The next one of a device that has not failed."""
        while self.slices:
            piece = self.slices.pop()
            if (piece.device.device_id, piece.placement) not in self.failed:
                return piece
        return None

    def take(self, piece: _Slice, found: dict[int, int]) -> None:
        """What a slice holds."""
        self._found[piece.device.device_id, piece.placement].update(found)

    def census(self, now_ns: int) -> Census:
        """All together: per placement the most that one of the devices has of each partition."""
        held = [self._held(placement.name) for placement in self.ring.placements]
        return Census(taken_ns=now_ns, part_power=self.ring.part_power, held=held)

    def _held(self, placement: str) -> Held:
        things = np.full(self.ring.partition_count, -1, dtype=np.int64)
        for (device, name), found in self._found.items():
            if name == placement and (device, name) not in self.failed:
                mine = partitions_of(self.ring, placement, device)
                things[mine] = np.maximum(things[mine], 0)
                numbers = np.fromiter(found, dtype=np.int64, count=len(found))
                counts = np.fromiter(found.values(), dtype=np.int64, count=len(found))
                things[numbers] = np.maximum(things[numbers], counts)
        counted = np.flatnonzero(things >= 0)
        return Held(placement=placement, partitions=pack(counted), things=pack(things[counted]))


def _slices(ring: Ring, owned: Mapping[int, DeviceClient]) -> Iterator[_Slice]:
    for placement in ring.placements:
        for device in owned.values():
            for first in range(0, ring.partition_count, PARTITIONS_AT_ONCE):
                count = min(PARTITIONS_AT_ONCE, ring.partition_count - first)
                yield _Slice(device, placement.name, first, count)


def partitions_of(ring: Ring, placement: str, device: int) -> IntArray:
    """The partitions of which the ring places a replica on a device."""
    return np.flatnonzero((ring.tables[placement] == device).any(axis=0))
