"""Devices as a tree of regions, zones, nodes and leaves, laid out in arrays.

A tier is an index: 0 regions, 1 zones, 2 nodes, 3 devices. Leaves are numbered in tree order, so
that every tree node owns a contiguous run of them. Used by all of the builder; the lookup needs none
of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ring.types import BoolArray, Device, DeviceState, FloatArray, IntArray

REGION, ZONE, NODE, DEVICE = range(4)
TIERS = (REGION, ZONE, NODE, DEVICE)
TIER_NAMES = ("region", "zone", "node", "device")


@dataclass(frozen=True)
class Topology:
    """The tree as one placement sees it.

    ids, weight, lost: per leaf. member[tier]: each leaf's tree node in that tier. parent[tier]: each
    tree node's parent in the tier above (zeros for regions). labels[tier]: names for people.
    """

    ids: IntArray
    weight: FloatArray
    lost: BoolArray
    member: tuple[IntArray, ...]
    parent: tuple[IntArray, ...]
    labels: tuple[tuple[str, ...], ...]

    @property
    def leaf_count(self) -> int:
        """Number of devices."""
        return len(self.ids)

    def size(self, tier: int) -> int:
        """Number of tree nodes in a tier."""
        return len(self.parent[tier])

    def leaf_of_id(self, missing: int = -1) -> IntArray:
        """An array that maps a device id to its leaf."""
        leaf = np.full(int(self.ids.max(initial=0)) + 1, missing, dtype=np.int64)
        leaf[self.ids] = np.arange(self.leaf_count)
        return leaf


def topology_of(devices: Sequence[Device], device_class: str = "") -> Topology:
    """The tree of `devices`; those of another class, leaving or lost weigh nothing."""
    ordered = sorted(devices, key=lambda d: (d.region, d.zone, d.node, d.id))
    paths = [(d.region, d.zone, d.node, str(d.id)) for d in ordered]
    members: list[IntArray] = []
    parents: list[IntArray] = []
    labels: list[tuple[str, ...]] = []
    above = np.zeros(len(ordered), dtype=np.int64)
    for tier in TIERS:
        member, first, names = _number(paths, tier)
        members.append(member)
        parents.append(above[first])
        labels.append(names)
        above = member
    return Topology(
        ids=np.array([d.id for d in ordered], dtype=np.int64),
        weight=np.array([_weight(d, device_class) for d in ordered], dtype=np.float64),
        lost=np.array([d.state is DeviceState.LOST for d in ordered], dtype=np.bool_),
        member=tuple(members),
        parent=tuple(parents),
        labels=tuple(labels),
    )


def _weight(device: Device, device_class: str) -> float:
    fits = not device_class or device.device_class == device_class
    return device.share_weight if fits else 0.0


def _number(paths: Sequence[tuple[str, ...]], tier: int) -> tuple[IntArray, IntArray, tuple[str, ...]]:
    """Number the distinct prefixes of sorted paths: numbers, first leaf of each, names."""
    member = np.empty(len(paths), dtype=np.int64)
    first: list[int] = []
    before: tuple[str, ...] | None = None
    for leaf, path in enumerate(paths):
        prefix = path[: tier + 1]
        if prefix != before:
            first.append(leaf)
            before = prefix
        member[leaf] = len(first) - 1
    names = tuple("/".join(paths[leaf][: tier + 1]) for leaf in first)
    return member, np.array(first, dtype=np.int64), names
