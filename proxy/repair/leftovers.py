"""leftovers: drops the row shards of a device that the ring places elsewhere.

Only in an epoch that is joint for nobody: then every newcomer has settled, and no quorum asks this
device for them. It is done once a majority of the shard's present replicas has answered in this very
epoch, they will never go back to one that named this device, and has been proven to hold all that is
dropped (`covering.py`).

A later epoch may name it again, as a newcomer that takes writes at once. So the device is asked in the
epoch for which all this was decided: a process that has moved on refuses the drop, and one that took
it has it durable before it moves on.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from proxy.core.asking import WALK_TIME_S, shards_of, told
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.covering import Ages, Covering, Uncovered
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from storage.contract import DeviceFault, RowDevice
from storage.types import SUMMARY_PARTITIONS_MAX, Drop, Fault, Ok, Summarize, Summary

LOOK_AGAIN_S: Final = 60.0


class Left(NamedTuple):
    """Partitions of rows that a device holds and should not, as of a ring epoch; -1: not known yet."""

    epoch: int
    partitions: int


UNKNOWN: Final = Left(-1, 0)


class Leftovers:
    """Drops the leftovers of one device of this process. give: see `covering.py`."""

    name = "leftovers"

    def __init__(
        self,
        device_id: int,
        ring: Callable[[], Ring],
        placement: Placement,
        rows: Rows,
        clock: Clock,
        pace: Pace,
        give: Ages,
    ) -> None:
        self.pace = pace
        self._device_id = device_id
        self._rings = ring
        self._placement = placement
        self._clock = clock
        self._covering = Covering(placement, rows, clock, give)
        self._tally = Tally(clock)
        self._ring: Ring | None = None
        self._found: deque[int] = deque()
        self._held_up = 0
        self._why = ""
        self.left = UNKNOWN
        """As of the last look, less what was dropped since."""
        self._dropped = 0

    async def work(self) -> Worked:
        """Look what is left here, or drop one partition's shards."""
        ring = self._rings()
        if self._ring is None or self._ring.epoch != ring.epoch:
            await self._look(ring)
            return Worked.BUSY
        if not self._found:
            self._ring = None
            return Worked.THROTTLED if self._held_up else Worked.IDLE
        if is_joint(ring, ROWS):
            return Worked.THROTTLED
        await self._try_drop(ring, self._found.popleft())
        self.left = Left(ring.epoch, len(self._found) + self._held_up)
        return Worked.BUSY

    async def _look(self, ring: Ring) -> None:
        found: deque[int] = deque()
        for first in range(0, ring.partition_count, SUMMARY_PARTITIONS_MAX):
            count = min(SUMMARY_PARTITIONS_MAX, ring.partition_count - first)
            message = Summarize(ring.salt, ring.part_power, first, count)
            held = await told(self._clock, WALK_TIME_S, self._own(ring), message, Summary)
            found += [
                summary.partition
                for summary in held.partitions
                if self._device_id not in ring.devices(ROWS, summary.partition)
            ]
        self._ring, self._found, self._held_up = ring, found, 0
        self.left = Left(ring.epoch, len(found))
        self._tally.begin(len(found))

    def _own(self, ring: Ring) -> RowDevice:
        """The device, as it is asked in the ring's epoch and in no other."""
        device = self._placement.devices.get(self._device_id)
        if device is None:
            raise DeviceFault(Fault.OFFLINE, "the ring has let the device go")
        return device.at(ring.epoch)

    async def _try_drop(self, ring: Ring, partition: int) -> None:
        """Drop a partition's shards; one that has to wait holds up no other."""
        try:
            await self._drop(ring, partition)
        except (DeviceFault, Uncovered) as error:
            self._why = str(error)
            self._held_up += 1
            self._tally.dropped(1, 0)
        else:
            self._tally.did(1, 0)

    async def _drop(self, ring: Ring, partition: int) -> None:
        own = self._own(ring)
        shards = await shards_of(self._clock, WALK_TIME_S, own, ring, partition)
        if not shards:
            return
        present = await self._covering.present(ring, partition)
        waits: Uncovered | None = None
        for shard in shards:
            try:
                await self._covering.cover(own, shard, present)
            except Uncovered as error:
                waits = error
                continue
            await told(self._clock, WALK_TIME_S, own, Drop(shard.key), Ok)
            self._dropped += 1
        if waits is not None:
            raise waits

    def _doing(self) -> str:
        if self._found:
            return "dropping what the ring places elsewhere"
        if self._held_up:
            return f"{self._held_up} partitions can't be dropped: {self._why}"
        return "nothing is left over"

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device_id}",
            doing=self._doing(),
            done=self._tally.done,
            left=self._tally.left,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            eta_s=self._tally.eta_s,
            counts={"shards_dropped": self._dropped, "rows_handed_on": self._covering.given},
        )
