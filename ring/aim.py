"""A placement's aim: the tree of devices as it sees it, and the quotas that follow.

Shared by `ring.builder`, `ring.plan` and `ring.verify`, together with the way from device ids to
leaves and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ring.board import VACANT
from ring.errors import NotEnoughDevices
from ring.format_v1 import id_width_bytes
from ring.quota import Quota, quota_of
from ring.topology import Topology, topology_of
from ring.types import ROWS, Device, IdTable, IntArray, Placement


@dataclass(frozen=True)
class Aim:
    """What a placement is to become."""

    placement: Placement
    topology: Topology
    quota: Quota


def aim_of(
    devices: Sequence[Device],
    placement: Placement,
    part_power: int,
    overload: float,
    table: IdTable | None = None,
) -> Aim:
    """The aim of a placement over `devices`, rounded in favour of what `table` has in place.

    Raises NotEnoughDevices: `rows` needs a device per replica, because two votes on one device
    would let one disk acknowledge for a majority. Other placements may share devices.
    """
    topology = topology_of(devices, placement.device_class)
    _check_enough(topology, placement)
    held = np.zeros(topology.leaf_count, dtype=np.int64)
    if table is not None:
        leaves = topology.leaf_of_id()[table]
        held = np.bincount(leaves.ravel(), minlength=topology.leaf_count)
    quota = quota_of(topology, placement.replicas, 1 << part_power, held, overload)
    return Aim(placement, topology, quota)


def _check_enough(topology: Topology, placement: Placement) -> None:
    usable = int(np.count_nonzero(topology.weight))
    needed = placement.replicas if placement.name == ROWS else 1
    if usable < needed:
        of_class = f" of class {placement.device_class}" if placement.device_class else ""
        raise NotEnoughDevices(
            f"placement {placement.name} needs {needed} device(s){of_class} with weight, "
            f"there would be {usable}"
        )


def chance(salt: int, epoch: int, name: str) -> np.random.Generator:
    """The random generator of one placement in one epoch."""
    return np.random.default_rng([salt, epoch, int.from_bytes(name.encode(), "big")])


def as_ids(topology: Topology, leaves: IntArray, next_device_id: int) -> IdTable:
    """Leaves to device ids, in the width that a ring of these ids has."""
    if id_width_bytes(next_device_id) == 2:
        return topology.ids.astype(np.uint16)[leaves]
    return topology.ids.astype(np.uint32)[leaves]


def as_leaves(topology: Topology, table: IdTable, replicas: int) -> IntArray:
    """Device ids to leaves; replicas that the placement has grown by are vacant."""
    leaves = np.full((replicas, table.shape[1]), VACANT, dtype=np.int64)
    leaves[: len(table)] = topology.leaf_of_id()[table]
    return leaves
