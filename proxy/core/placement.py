"""Which devices hold what: the ring and the clients of its devices, as the core asks them.

A `Placement` speaks of one ring epoch at a time; `adopt` brings it to the next. Who has begun an
operation in the one before goes on with what it was given, is refused by devices that have moved on,
and comes back (`Rows`). It caches, bounded, what it looked up.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from proxy.core.errors import UnknownPolicy
from proxy.core.homes import Handoffs, former_homes
from proxy.core.register import Quorum, joint, majority
from proxy.core.types import Policy
from ring.types import NO_DEVICE, Device, Step
from ring.types import Placement as RingPlacement
from storage.contract import Deliver, DeviceClient, RowDevice
from storage.erasure.contract import Codec
from storage.erasure.registry import CodecRegistry
from storage.types import Failed, Fault, RowMessage

ROWS_PLACEMENT: Final = "rows"

PARTITIONS_CACHED_MAX: Final = 1 << 16
"""Partitions whose replicas are kept ready."""


class RingLookup(Protocol):
    """What the core needs of the ring (`ring.lookup.Ring`)."""

    @property
    def epoch(self) -> int:
        """Which ring of the cluster's life it is."""

    @property
    def members(self) -> tuple[Device, ...]:
        """All devices."""

    @property
    def steps(self) -> Mapping[str, tuple[Step, ...]]:
        """Per placement the recent moves, oldest first."""

    def placement(self, name: str) -> RingPlacement:
        """A placement by its name. Raises UnknownPlacement."""

    def partition(self, name: bytes) -> int:
        """The partition of a name."""

    def devices(self, placement: str, partition: int) -> tuple[int, ...]:
        """Device ids in replica order."""

    def moved_in_epoch(self, placement: str) -> Step | None:
        """The moves that this very epoch made."""


class Seats(NamedTuple):
    """The replicas of one partition's rows by device id; the two sets differ in a joint epoch.

    members: all of them, those of both sets first. old, new: masks over `members`.
    """

    members: tuple[int, ...]
    old: int
    new: int


def seats(present: Iterable[int], sources: Mapping[int, int]) -> Seats:
    """present: the device of each replica. sources: replica -> where it came from in this epoch.

    A replica that had no device before (NO_DEVICE) is of the new set alone.
    """
    now = list(present)
    before = [sources.get(replica, device) for replica, device in enumerate(now)]
    before = [device for device in before if device != NO_DEVICE]
    both = [device for device in now if device in before]
    members = (*both, *(d for d in before if d not in both), *(d for d in now if d not in both))
    unique = tuple(dict.fromkeys(members))
    return Seats(unique, _mask(unique, before), _mask(unique, now))


def _mask(members: tuple[int, ...], chosen: list[int]) -> int:
    return sum(1 << number for number, device in enumerate(members) if device in chosen)


class Replicas(NamedTuple):
    """A shard's devices in one epoch; the quorum's member numbers index `devices`.

    joint: two sets must agree, because the partition is on the move.
    """

    devices: tuple[RowDevice, ...]
    quorum: Quorum
    epoch: int
    joint: bool


class GoneDevice:
    """The rows of a device that has left the ring: a member of the old set that never answers."""

    local = False

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See RowDevice.send."""
        deliver(Failed(Fault.UNREACHABLE, f"device {self.device_id} has left the ring"), b"")


class Placement:
    """The ring, its devices' clients and the storage policies.

    devices: a client for every device id of the ring; whoever adopts a ring sees to that first.
    on_stale: called where a device was in a newer epoch than this.
    """

    def __init__(
        self,
        ring: RingLookup,
        devices: dict[int, DeviceClient],
        policies: dict[str, Policy],
        on_stale: Callable[[], None] = lambda: None,
    ) -> None:
        self._devices = devices
        self.policies = policies
        self.on_stale = on_stale
        self._codecs = CodecRegistry()
        self._waiting: list[asyncio.Future[None]] = []
        self._take(ring)

    def _take(self, ring: RingLookup) -> None:
        self._ring = ring
        self._by_partition: dict[int, Replicas] = {}
        self._moved = _sources(ring.moved_in_epoch(ROWS_PLACEMENT))
        self._handoffs = Handoffs(ring.members)

    def adopt(self, ring: RingLookup) -> None:
        """Look up in a newer ring from now on. An older one changes nothing."""
        if ring.epoch <= self._ring.epoch:
            return
        self._take(ring)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def newer(self, epoch: int, within_s: float) -> None:
        """Until there is a newer ring than that of `epoch`, or the time is over."""
        if self._ring.epoch > epoch:
            return
        self.on_stale()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await asyncio.wait([waiter], timeout=within_s)
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    @property
    def epoch(self) -> int:
        """The present ring's."""
        return self._ring.epoch

    @property
    def ring(self) -> RingLookup:
        """The present one."""
        return self._ring

    @property
    def devices(self) -> dict[int, DeviceClient]:
        """All devices by id."""
        return self._devices

    def replicas(self, shard: bytes) -> Replicas:
        """The devices of a shard's rows, those of this process first in the quorum's order."""
        partition = self._ring.partition(shard)
        found = self._by_partition.get(partition)
        return found if found is not None else self._look_up(partition)

    def _look_up(self, partition: int) -> Replicas:
        if len(self._by_partition) >= PARTITIONS_CACHED_MAX:
            self._by_partition.clear()
        found = self.replicas_of(partition)
        self._by_partition[partition] = found
        return found

    def replicas_of(self, partition: int) -> Replicas:
        """The devices of a partition's rows."""
        ids = self._ring.devices(ROWS_PLACEMENT, partition)
        sources = self._moved.get(partition)
        if not sources:
            members = tuple(self._rows_of(number) for number in ids)
            return Replicas(members, majority(len(ids), _order(members)), self._ring.epoch, False)
        both = seats(ids, sources)
        members = tuple(self._rows_of(number) for number in both.members)
        quorum = joint(len(members), both.old, both.new, _order(members, both.old & both.new))
        return Replicas(members, quorum, self._ring.epoch, True)

    def old_members(self, partition: int) -> list[int]:
        """Member numbers of a partition's old set; of all where it is not on the move."""
        ids = self._ring.devices(ROWS_PLACEMENT, partition)
        both = seats(ids, self._moved.get(partition, {}))
        return [number for number in range(len(both.members)) if both.old >> number & 1]

    def _rows_of(self, device_id: int) -> RowDevice:
        device = self._devices.get(device_id)
        return device.at(self._ring.epoch) if device is not None else GoneDevice(device_id)

    def policy(self, name: str) -> Policy:
        """Raises UnknownPolicy."""
        policy = self.policies.get(name)
        if policy is None:
            raise UnknownPolicy(name)
        return policy

    def codec(self, policy: Policy) -> Codec | None:
        """The codec of an erasure coded policy, None for replicas. Raises CodecUnavailable."""
        return self._codecs.codec(policy.codec, policy.k, policy.m) if policy.erasure_coded else None

    def blob_partition(self, blob_id: bytes) -> int:
        """The partition of a blob."""
        return self._ring.partition(blob_id)

    def blob_devices(self, blob_id: bytes, policy: str) -> tuple[DeviceClient, ...]:
        """The devices of a blob's replicas or fragments, by their number."""
        ids = self._ring.devices(policy, self._ring.partition(blob_id))
        return tuple(self._devices[number] for number in ids)

    def blob_handoffs(self, blob_id: bytes, policy: str) -> list[DeviceClient]:
        """Devices that may take a blob's copies in place of their homes, best first."""
        homes = self._ring.devices(policy, self._ring.partition(blob_id))
        of_class = self._ring.placement(policy).device_class
        return self._known(self._handoffs.offered(blob_id, homes, of_class))

    def blob_elsewhere(self, blob_id: bytes, policy: str) -> list[DeviceClient]:
        """Devices that may hold copies of a blob beside its homes: former homes, then handoffs."""
        partition = self._ring.partition(blob_id)
        homes = self._ring.devices(policy, partition)
        former = former_homes(self._ring.steps.get(policy, ()), partition)
        of_class = self._ring.placement(policy).device_class
        others = dict.fromkeys([*former, *self._handoffs.searched(blob_id, homes, of_class)])
        return self._known(number for number in others if number not in homes)

    def _known(self, ids: Iterable[int]) -> list[DeviceClient]:
        """Their clients; a device that has left the ring has none."""
        return [self._devices[number] for number in ids if number in self._devices]


def _order(members: tuple[RowDevice, ...], first: int = -1) -> tuple[int, ...]:
    """Member numbers, the cheapest to ask first: those of the mask `first`, those of this process."""
    numbers = range(len(members))
    return tuple(sorted(numbers, key=lambda n: (not first >> n & 1, not members[n].local)))


def _sources(step: Step | None) -> dict[int, dict[int, int]]:
    """The moves of a joint epoch: partition -> replica -> the device it comes from."""
    moved: dict[int, dict[int, int]] = {}
    if step is not None:
        moves = zip(
            step.partitions.tolist(), step.replicas.tolist(), step.sources.tolist(), strict=True
        )
        for partition, replica, source in moves:
            moved.setdefault(partition, {})[replica] = source
    return moved
