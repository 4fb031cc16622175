"""sync: compares the replicas of rows and gives each what it lacks.

Of each partition that a device of this process leads (it is the first in the ring's order that can be
reached) the replicas' digests are compared: of the partition, of its shards, of a shard's leaves, of
rows at last. What is given to whom is `differences.py`'s, how `giving.py`'s.

Partitions on the move are left to settling. A replica that can't be reached is compared when it is
back: its partitions then differ.
"""

from collections import deque
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from proxy.core.asking import ASK_TIME_S, ask_all, shards_of
from proxy.core.placement import Placement, Replicas
from proxy.core.rows import Rows
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.differences import differing, differing_leaves
from proxy.repair.giving import Giver
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.types import LeafDigests, Leaves, Summarize, Summary

PARTITIONS_PER_UNIT: Final = 4096
"""Partitions compared at a time."""

LEAVES_PER_UNIT: Final = 32
"""Leaves of a shard whose rows are compared at a time."""

LEFT_MAX: Final = 10_000
"""Sealed shards remembered as being as alike as they can be."""

AGAIN_S: Final = 30.0
"""Between two rounds: digests cost little."""


class _Place(NamedTuple):
    """A shard to be compared. partition: its own, by which its replicas are found when its turn comes.

    digests: of the replicas. leaves: those that are still to be compared; None: all, its seal first.
    given: whether anything was given so far.
    """

    partition: int
    shard: bytes
    digests: tuple[int, ...]
    leaves: tuple[int, ...] | None = None
    given: bool = False


class Sync:
    """Keeps the rows alike of which devices of this process are the leading replicas.

    owned: ids of this process's devices; they may change.
    """

    name = "sync"

    def __init__(
        self,
        ring: Callable[[], Ring],
        placement: Placement,
        rows: Rows,
        owned: Collection[int],
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self._ring = ring
        self._placement = placement
        self.owned = owned
        self._clock = clock
        self._giver = Giver(rows, clock, pace)
        self._next = 0
        self._shards: deque[_Place] = deque()
        self._left: dict[bytes, tuple[int, ...]] = {}
        self._tally = Tally(clock)
        self._compared = 0

    async def work(self) -> Worked:
        """Compare one shard that differs, or else the next partitions."""
        if self._shards:
            await self._work_on(self._shards.popleft())
        else:
            if self._next == 0:
                self._tally.begin()
            await self._compare_partitions()
        return Worked.BUSY if self._shards or self._next else Worked.IDLE

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            doing="comparing replicas' rows" if not self._shards else "giving replicas what they lack",
            done=self._tally.done,
            left=len(self._shards),
            since_s=self._tally.since_s,
            rate_s=self._tally.rate_s,
            eta_s=self._tally.eta_s,
            counts={
                "rows_given": self._giver.given,
                "rows_refused": self._giver.refused,
                "shards_compared": self._compared,
            },
        )

    # -- partitions --------------------------------------------------------------------------------

    async def _compare_partitions(self) -> None:
        """Find the shards that differ in the next partitions."""
        first, partitions = self._next, 1 << self._ring().part_power
        count = min(PARTITIONS_PER_UNIT, partitions - first)
        replicas = {p: self._placement.replicas_of(p) for p in range(first, first + count)}
        mine = {p: found for p, found in replicas.items() if self._concerns(found)}
        digests = await self._summaries(mine, first, count)
        self._next = 0 if first + count >= partitions else first + count
        for partition, found in mine.items():
            reached = [device for device in found.devices if device.device_id in digests]
            if len(reached) > 1 and reached[0].device_id in self.owned:
                here = [{partition: digests[d.device_id].get(partition, 0)} for d in reached]
                if differing(here):
                    await self._compare_shards(partition, reached)

    def _concerns(self, replicas: Replicas) -> bool:
        """True for a partition at rest that this process may lead."""
        return not replicas.joint and any(d.device_id in self.owned for d in replicas.devices)

    async def _summaries(
        self, replicas: dict[int, Replicas], first: int, count: int
    ) -> dict[int, dict[int, int]]:
        """Digests by partition, by the id of each device that answered."""
        devices = {d.device_id: d for found in replicas.values() for d in found.devices}
        ring = self._ring()
        message = Summarize(ring.salt, ring.part_power, first, count)
        answers = await ask_all(
            self._clock, ASK_TIME_S, ((device, message) for device in devices.values())
        )
        return {
            number: {found.partition: found.digest for found in answer.partitions}
            for number, answer in zip(devices, answers, strict=True)
            if type(answer) is Summary
        }

    async def _compare_shards(self, partition: int, devices: list[RowDevice]) -> None:
        """Queue the shards of a partition that differ."""
        try:
            known = await together(self._list(device, partition) for device in devices)
        except DeviceFault:
            return
        for shard in sorted(differing(known)):
            digests = tuple(found.get(shard, 0) for found in known)
            if self._left.get(shard) != digests:
                self._shards.append(_Place(partition, shard, digests))

    async def _list(self, device: RowDevice, partition: int) -> dict[bytes, int]:
        """Digests by shard. DeviceFault where the device can't say."""
        listed = await shards_of(self._clock, ASK_TIME_S, device, self._ring(), partition)
        return {shard.key: shard.digest for shard in listed}

    # -- one shard ---------------------------------------------------------------------------------

    async def _work_on(self, place: _Place) -> None:
        """Compare some leaves of a shard, all of them being queued first."""
        replicas = self._placement.replicas_of(place.partition)
        if replicas.joint:
            return
        if place.leaves is None:
            await self._begin_shard(place, replicas)
            return
        now, later = place.leaves[:LEAVES_PER_UNIT], place.leaves[LEAVES_PER_UNIT:]
        sealed, given = await self._giver.give(place.shard, replicas, now)
        place = place._replace(leaves=later, given=place.given or given)
        if later:
            self._shards.appendleft(place)
        elif sealed and not place.given:
            self._note_left(place)

    async def _begin_shard(self, place: _Place, replicas: Replicas) -> None:
        """The seal comes first: what may be given depends on it, and who has it takes nothing more."""
        shard = place.shard
        await self._giver.give_seal(shard, replicas)
        asked = [(device, Leaves(shard)) for device in replicas.devices]
        answers = await ask_all(self._clock, ASK_TIME_S, asked)
        digests = [answer.digests for answer in answers if type(answer) is LeafDigests]
        self._compared += 1
        self._tally.did(1, 0)
        leaves = tuple(differing_leaves(digests)) if len(digests) > 1 else ()
        if leaves:
            self._shards.appendleft(place._replace(leaves=leaves))

    def _note_left(self, place: _Place) -> None:
        """Its replicas differ in what they may not be given: look again when they have changed."""
        if len(self._left) >= LEFT_MAX:
            self._left.clear()
        self._left[place.shard] = place.digests
