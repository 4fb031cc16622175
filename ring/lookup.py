"""The ring that a process reads: name to partition, partition to devices. Immutable.

On the path of every request, so it holds no logic but the lookup. Made by `ring.builder` and
`ring.file`; a newer ring is a new object.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from xxhash import xxh3_64_intdigest

from ring.errors import UnknownDevice, UnknownPartition, UnknownPlacement
from ring.types import Device, IdTable, Placement, Step

CACHE_MAX = 1 << 16
"""Partitions of one placement whose devices are kept as tuples: about 10 MB."""


class Ring:
    """One epoch of the cluster's placement.

    tables: per placement the device ids, replicas x 2^part_power; taken as read-only. steps: per
    placement the recent moves, oldest first. overload: how far above its share by weight a device
    may be filled for the sake of dispersion (inf: as far as it takes).
    """

    def __init__(
        self,
        *,
        epoch: int,
        cluster_id: str,
        salt: int,
        part_power: int,
        min_part_hours: int,
        overload: float,
        next_device_id: int,
        devices: tuple[Device, ...],
        placements: tuple[Placement, ...],
        tables: Mapping[str, IdTable],
        steps: Mapping[str, tuple[Step, ...]],
    ) -> None:
        self.epoch = epoch
        self.cluster_id = cluster_id
        self.salt = salt
        self.part_power = part_power
        self.min_part_hours = min_part_hours
        self.overload = overload
        self.next_device_id = next_device_id
        self.members = devices
        self.placements = placements
        self.tables = MappingProxyType(dict(tables))
        self.steps = MappingProxyType(dict(steps))
        for table in self.tables.values():
            table.flags.writeable = False
        self._shift = 64 - part_power
        self._by_id = {device.id: device for device in devices}
        self._cache: dict[str, dict[int, tuple[int, ...]]] = {p.name: {} for p in placements}

    @property
    def partition_count(self) -> int:
        """2^part_power."""
        return 1 << self.part_power

    def partition(self, name: bytes) -> int:
        """The partition of a name, 0 … 2^part_power - 1: the top bits of its salted XXH3."""
        return xxh3_64_intdigest(name, self.salt) >> self._shift

    def devices(self, placement: str, partition: int) -> tuple[int, ...]:
        """Ids of the devices that hold a partition, in the order of its replicas or fragments.

        Raises UnknownPlacement, UnknownPartition.
        """
        try:
            cached = self._cache[placement]
        except KeyError:
            raise UnknownPlacement(placement) from None
        found = cached.get(partition)
        return self._read(placement, partition) if found is None else found

    def _read(self, placement: str, partition: int) -> tuple[int, ...]:
        if not 0 <= partition < self.partition_count:
            raise UnknownPartition(partition)
        cached = self._cache[placement]
        if len(cached) >= CACHE_MAX:
            cached.clear()
        ids: tuple[int, ...] = tuple(self.tables[placement][:, partition].tolist())
        cached[partition] = ids
        return ids

    def device(self, device_id: int) -> Device:
        """Raises UnknownDevice."""
        try:
            return self._by_id[device_id]
        except KeyError:
            raise UnknownDevice(device_id) from None

    def placement(self, name: str) -> Placement:
        """Raises UnknownPlacement."""
        for placement in self.placements:
            if placement.name == name:
                return placement
        raise UnknownPlacement(name)

    def held(self, placement: str) -> dict[int, int]:
        """Partition-replicas of a placement on each device, by id."""
        if placement not in self.tables:
            raise UnknownPlacement(placement)
        counts = np.bincount(self.tables[placement].ravel(), minlength=self.next_device_id)
        return {device.id: int(counts[device.id]) for device in self.members}

    def moved_in_epoch(self, placement: str) -> Step | None:
        """The moves that this very epoch made: where its partitions' data may still be."""
        if placement not in self.steps:
            raise UnknownPlacement(placement)
        recent = self.steps[placement]
        return recent[-1] if recent and recent[-1].epoch == self.epoch else None
