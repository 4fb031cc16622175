"""Which devices hold what: the ring and the clients of its devices, as the core asks them.

One `Placement` speaks of one ring epoch. It caches, bounded, what it looked up.
"""

from typing import Final, NamedTuple, Protocol

from proxy.core.errors import UnknownPolicy
from proxy.core.register import Quorum, majority
from proxy.core.types import Policy
from storage.contract import DeviceClient
from storage.erasure.contract import Codec
from storage.erasure.registry import CodecRegistry

ROWS_PLACEMENT: Final = "rows"


class RingLookup(Protocol):
    """What the core needs of the ring (`ring.lookup.Ring`)."""

    def partition(self, name: bytes) -> int:
        """The partition of a name."""

    def devices(self, placement: str, partition: int) -> tuple[int, ...]:
        """Device ids in replica order."""


class Replicas(NamedTuple):
    """A shard's devices; the quorum's member numbers index `devices`."""

    devices: tuple[DeviceClient, ...]
    quorum: Quorum


class Placement:
    """The ring, its devices' clients and the storage policies.

    devices: a client for every device id of the ring.
    """

    def __init__(
        self, ring: RingLookup, devices: dict[int, DeviceClient], policies: dict[str, Policy]
    ) -> None:
        self._ring = ring
        self._devices = devices
        self.policies = policies
        self._codecs = CodecRegistry()
        self._by_partition: dict[int, Replicas] = {}

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
        ids = self._ring.devices(ROWS_PLACEMENT, partition)
        devices = tuple(self._devices[number] for number in ids)
        order = sorted(range(len(devices)), key=lambda member: not devices[member].local)
        replicas = Replicas(devices, majority(len(devices), tuple(order)))
        self._by_partition[partition] = replicas
        return replicas

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
