"""Going through all containers: which of them need work is written in their rows.

Each process walks the containers' shards that its own devices hold. A container has three replicas of
its row, so three processes may meet it: `rank` says whose turn it is first.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final, NamedTuple, cast

import msgspec

from proxy.core.asking import ASK_TIME_S, Partitioned, ask, shards_of
from proxy.core.placement import ROWS_PLACEMENT, Placement, RingLookup
from proxy.core.resharding import ContainerRow
from proxy.core.types import ContainerHead
from runtime.clock import Clock
from storage.contract import DeviceFault
from storage.types import Page, RowAnswer, RowFlag, RowMessage, Scan, ShardSummary

CONTAINERS_PER_PAGE: Final = 200

PARTITIONS_PER_PAGE: Final = 64
"""After so many partitions a page ends, whatever it holds."""

_decode = msgspec.msgpack.Decoder(ContainerHead).decode


class FoundContainer(NamedTuple):
    """A container as this process's replica of its row says. rank: the number of that replica."""

    row: ContainerRow
    head: ContainerHead
    rank: int


class ContainerWalk:
    """Rounds over the containers whose rows this process's devices hold."""

    def __init__(self, placement: Placement, owned: Iterable[int], clock: Clock) -> None:
        """owned: ids of the process's devices; may be set anew at any time."""
        self._placement = placement
        self.owned = frozenset(owned)
        self._clock = clock
        self._round: AsyncIterator[list[FoundContainer]] | None = None

    async def page(self) -> list[FoundContainer] | None:
        """The next containers, if any; None at the end of a round. A silent device is left out."""
        if self._round is None:
            self._round = self._pages()
        try:
            return await anext(self._round)
        except StopAsyncIteration:
            self._round = None
            return None

    async def _pages(self) -> AsyncIterator[list[FoundContainer]]:
        ring = partitioned(self._placement.ring)
        epoch = self._placement.epoch
        for partition in range(1 << ring.part_power):
            if self._placement.epoch != epoch:
                return  # begin anew with the newer ring
            ids = self._placement.ring.devices(ROWS_PLACEMENT, partition)
            mine = [rank for rank, device_id in enumerate(ids) if device_id in self.owned]
            if mine:
                async for page in self._of_partition(ids[mine[0]], mine[0], partition):
                    yield page
            if partition % PARTITIONS_PER_PAGE == 0:
                yield []

    async def _of_partition(
        self, device_id: int, rank: int, partition: int
    ) -> AsyncIterator[list[FoundContainer]]:
        for shard in await shards_on(self._placement, device_id, partition, self._clock):
            if shard.key[:1] == b"c":
                async for page in self._of_shard(device_id, rank, shard.key):
                    yield page

    async def _of_shard(
        self, device_id: int, rank: int, shard: bytes
    ) -> AsyncIterator[list[FoundContainer]]:
        start, more = b"", True
        while more:
            scan = Scan(shard, start, b"", CONTAINERS_PER_PAGE)
            page = await ask_device(self._placement, device_id, scan, self._clock)
            if type(page) is not Page:
                return
            live = (row for row in page.rows if not row.flags & RowFlag.TOMBSTONE)
            heads = ((row.name, _decode(row.head)) for row in live)
            yield [FoundContainer(ContainerRow(shard, n, head.id), head, rank) for n, head in heads]
            start, more = page.covered_to, page.covered_to != b""


async def ask_device(
    placement: Placement, device_id: int, message: RowMessage, clock: Clock
) -> RowAnswer | None:
    """One device's answer; None where it is not of this ring, or silent."""
    device = placement.devices.get(device_id)
    if device is None:
        return None
    return (await ask(clock, ASK_TIME_S, device.at(placement.epoch), message))[0]


async def shards_on(
    placement: Placement, device_id: int, partition: int, clock: Clock
) -> list[ShardSummary]:
    """A partition's shards on one device; none where it is not of this ring, or silent."""
    device, ring = placement.devices.get(device_id), partitioned(placement.ring)
    if device is not None:
        with contextlib.suppress(DeviceFault):
            return await shards_of(clock, ASK_TIME_S, device.at(placement.epoch), ring, partition)
    return []


def partitioned(ring: RingLookup) -> Partitioned:
    """The ring, of which devices are asked by partition."""
    return cast(Partitioned, ring)


class Turns:
    """Whose turn it is: a process whose replica is not the first waits until nothing happens.

    wait_s: for how long, for each replica before its own.
    """

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._clock = clock
        self._wait_s = wait_s
        self._seen: dict[bytes, tuple[bytes, float]] = {}  # container id -> nonce, since when

    def mine(self, found: FoundContainer) -> bool:
        """Whether to work on a container that needs work."""
        if found.rank == 0:
            return True
        now = self._clock.monotonic()
        nonce, since = self._seen.get(found.row.id, (b"", now))
        if nonce != found.head.nonce:
            self._seen[found.row.id] = (found.head.nonce, now)
            return False
        return now - since >= self._wait_s * found.rank

    def forget(self, found: FoundContainer) -> None:
        """It needs no work."""
        self._seen.pop(found.row.id, None)
