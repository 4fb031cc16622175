"""leftovers: drops the row shards of a device that the ring places elsewhere.

Only in an epoch that is joint for nobody: then every newcomer has settled, and no quorum asks this
device for them. It is done once a majority of the shard's present replicas has answered in this very
epoch; they will never go back to one that named this device.

A later epoch may name it again, as a newcomer that takes writes at once. So the device is asked in the
epoch for which all this was decided: a process that has moved on refuses the drop, and one that took
it has it durable before it moves on.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from proxy.core.asking import shards_of, told
from proxy.core.placement import Placement
from proxy.core.poll import Poll
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from storage.contract import DeviceFault, RowDevice
from storage.types import (
    SUMMARY_PARTITIONS_MAX,
    Drop,
    Fault,
    ListShards,
    Ok,
    ShardList,
    Summarize,
    Summary,
)

CALL_TIME_S: Final = 30.0
LOOK_AGAIN_S: Final = 60.0


class Left(NamedTuple):
    """Partitions of rows that a device holds and should not, as of a ring epoch; -1: not known yet."""

    epoch: int
    partitions: int


UNKNOWN: Final = Left(-1, 0)


class Leftovers:
    """Drops the leftovers of one device of this process."""

    name = "leftovers"

    def __init__(
        self,
        device_id: int,
        ring: Callable[[], Ring],
        placement: Placement,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self._device_id = device_id
        self._rings = ring
        self._placement = placement
        self._clock = clock
        self._tally = Tally(clock)
        self._ring: Ring | None = None
        self._found: list[int] = []
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
            return Worked.IDLE
        if is_joint(ring, ROWS):
            return Worked.THROTTLED
        await self._drop(ring, self._found[-1])
        self._found.pop()
        self._tally.did(1, 0)
        self.left = Left(ring.epoch, len(self._found))
        return Worked.BUSY

    async def _look(self, ring: Ring) -> None:
        found = []
        for first in range(0, ring.partition_count, SUMMARY_PARTITIONS_MAX):
            count = min(SUMMARY_PARTITIONS_MAX, ring.partition_count - first)
            message = Summarize(ring.salt, ring.part_power, first, count)
            held = await told(self._clock, CALL_TIME_S, self._own(ring), message, Summary)
            found += [
                summary.partition
                for summary in held.partitions
                if self._device_id not in ring.devices(ROWS, summary.partition)
            ]
        self._ring, self._found = ring, found
        self.left = Left(ring.epoch, len(found))
        self._tally.begin(len(found))

    async def _drop(self, ring: Ring, partition: int) -> None:
        """Drop a partition's shards. DeviceFault where that can't be done now."""
        own = self._own(ring)
        shards = await shards_of(self._clock, CALL_TIME_S, own, ring, partition)
        if shards:
            await self._require_majority(ring, partition)
        for shard in shards:
            await told(self._clock, CALL_TIME_S, own, Drop(shard.key), Ok)
            self._dropped += 1

    def _own(self, ring: Ring) -> RowDevice:
        """The device, as it is asked in the ring's epoch and in no other."""
        device = self._placement.devices.get(self._device_id)
        if device is None:
            raise DeviceFault(Fault.OFFLINE, "the ring has let the device go")
        return device.at(ring.epoch)

    async def _require_majority(self, ring: Ring, partition: int) -> None:
        replicas = self._placement.replicas_of(partition)
        poll = Poll(self._clock, CALL_TIME_S)
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, ListShards(ring.salt, ring.part_power, partition))
        enough = replicas.quorum.enough
        answered = await poll.until(lambda: enough[poll.mask(ShardList)])
        if not answered or replicas.joint or replicas.epoch != ring.epoch:
            raise DeviceFault(Fault.UNREACHABLE, f"no majority of partition {partition} in this epoch")

    def status(self) -> WorkerStatus:
        """See Worker."""
        doing = "dropping what the ring places elsewhere" if self._found else "nothing is left over"
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device_id}",
            doing=doing,
            done=self._tally.done,
            left=self._tally.left,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            eta_s=self._tally.eta_s,
            counts={"shards_dropped": self._dropped},
        )
