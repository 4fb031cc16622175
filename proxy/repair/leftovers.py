"""leftovers: drops the row shards of a device that the ring places elsewhere.

Only in an epoch that is joint for nobody: then every newcomer has settled, and no quorum asks this
device for them. It is done once a majority of the shard's present replicas has answered in this very
epoch; they will never go back to one that named this device.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from proxy.core.placement import Placement
from proxy.core.poll import Poll
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from storage.contract import DeviceClient, DeviceFault
from storage.types import (
    SUMMARY_PARTITIONS_MAX,
    Drop,
    Failed,
    Fault,
    ListShards,
    Ok,
    RowAnswer,
    RowMessage,
    ShardList,
    Summarize,
    Summary,
)

T = TypeVar("T")

CALL_TIME_S: Final = 30.0
LOOK_AGAIN_S: Final = 60.0


class Left(NamedTuple):
    """Partitions of rows that a device holds and should not, as of a ring epoch; -1: not known yet."""

    epoch: int
    partitions: int


UNKNOWN: Final = Left(-1, 0)


class Leftovers:
    """Drops the leftovers of one device of this process. device: without its fence."""

    name = "leftovers"

    def __init__(
        self,
        device: DeviceClient,
        ring: Callable[[], Ring],
        placement: Placement,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self._device = device
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
            held = await self._ask_own(message, Summary)
            here = self._device.device_id
            found += [
                summary.partition
                for summary in held.partitions
                if here not in ring.devices(ROWS, summary.partition)
            ]
        self._ring, self._found = ring, found
        self.left = Left(ring.epoch, len(found))
        self._tally.begin(len(found))

    async def _drop(self, ring: Ring, partition: int) -> None:
        """Drop a partition's shards. DeviceFault where that can't be done now."""
        more = True
        while more:
            listed = await self._ask_own(ListShards(ring.salt, ring.part_power, partition), ShardList)
            if listed.shards:
                await self._require_majority(ring, partition)
            for shard in listed.shards:
                await self._ask_own(Drop(shard.key), Ok)
                self._dropped += 1
            more = listed.more

    async def _require_majority(self, ring: Ring, partition: int) -> None:
        replicas = self._placement.replicas_of(partition)
        poll = Poll(self._clock, CALL_TIME_S)
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, ListShards(ring.salt, ring.part_power, partition))
        enough = replicas.quorum.enough
        answered = await poll.until(lambda: enough[poll.mask(ShardList)])
        if not answered or replicas.joint or replicas.epoch != ring.epoch:
            raise DeviceFault(Fault.UNREACHABLE, f"no majority of partition {partition} in this epoch")

    async def _ask_own(self, message: RowMessage, kind: type[T]) -> T:
        poll = Poll(self._clock, CALL_TIME_S)
        poll.ask(0, self._device, message)
        await poll.all()
        answer: RowAnswer | None = poll.answers.get(0)
        if isinstance(answer, kind):
            return answer
        if isinstance(answer, Failed):
            raise DeviceFault(Fault(answer.fault), answer.text)
        raise DeviceFault(Fault.DEADLINE, "no answer")

    def status(self) -> WorkerStatus:
        """See Worker."""
        doing = "dropping what the ring places elsewhere" if self._found else "nothing is left over"
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device.device_id}",
            doing=doing,
            done=self._tally.done,
            left=self._tally.left,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            eta_s=self._tally.eta_s,
            counts={"shards_dropped": self._dropped},
        )
