"""How much each device is to hold: the fair share by weight, capped by dispersion, then rounded.

Pure functions over a `Topology`. The unit of a share is replicas per partition, that of a quota
partition-replicas (2^part_power times as much).

*Caps.* The most replicas of one partition in a device, region, zone and node are made as small as
the tree allows, in this order: distinct devices first, then the widest failure domain first.

*Shares* solve the lexicographic max-min problem over those caps (the base of a laminar polymatroid,
Fujishige 1980): each device's share grows with its weight until a tree node above it is full, which
then stays as it is while the others go on.

*Quotas* round shares tier by tier so that every tree node gets the floor or the ceiling of its
share. Any such nested integers can be met with each partition's count in every tree node within one
of each other: the constraints form a totally unimodular matrix, whose polyhedra decompose (Baum and
Trotter 1978). Those per-partition bounds are `lower` and `upper`.
"""

import math
from dataclasses import dataclass

import numpy as np

from ring.errors import NotEnoughDevices
from ring.topology import DEVICE, NODE, REGION, TIERS, ZONE, Topology
from ring.types import FloatArray, IntArray

SNAP = 1e-6
"""A share this near to a whole number of partition-replicas is taken as that number."""


@dataclass(frozen=True)
class Quota:
    """What a placement aims at. Tuples are per tier, their arrays per tree node.

    fair: the real-valued share in partition-replicas; weighted: the same by weight alone, with
    distinct devices as the only cap; count: the integer to hold; lower, upper: bounds on one
    partition's replicas there; caps: the bounds that dispersion alone gives.
    """

    fair: tuple[FloatArray, ...]
    weighted: FloatArray
    count: tuple[IntArray, ...]
    lower: tuple[IntArray, ...]
    upper: tuple[IntArray, ...]
    caps: tuple[IntArray, ...]


def quota_of(
    topology: Topology,
    replicas: int,
    partitions: int,
    held: IntArray,
    overload: float = math.inf,
) -> Quota:
    """The quotas of a placement.

    held: partition-replicas now on each leaf; of two equally fair roundings the one nearer to it
    wins, so that rounding moves nothing. overload: how far above its share by weight a device may
    be filled for the sake of dispersion (0.1: ten per cent). Raises NotEnoughDevices.
    """
    caps = tier_caps(topology, replicas)
    weighted = _weighted_shares(topology, caps, replicas)
    share = _limit_overload(weighted, shares(topology, caps, replicas), overload)
    fair = _snapped(topology, share * partitions)
    count = _round(topology, fair, held, replicas * partitions, partitions)
    return Quota(
        fair=fair,
        weighted=weighted * partitions,
        count=count,
        lower=tuple(c // partitions for c in count),
        upper=tuple(-(-c // partitions) for c in count),
        caps=caps,
    )


def tier_caps(topology: Topology, replicas: int) -> tuple[IntArray, ...]:
    """Per tier and tree node, the most replicas of one partition that dispersion allows there.

    Raises NotEnoughDevices where no leaf has weight.
    """
    leaves = int(np.count_nonzero(topology.weight))
    if not leaves:
        raise NotEnoughDevices("no device with weight is left for this placement")
    limit = [replicas, replicas, replicas, -(-replicas // leaves)]
    for tier in (REGION, ZONE, NODE):
        limit[tier] = next(
            level
            for level in range(1, replicas + 1)
            if _room(topology, [*limit[:tier], level, *limit[tier + 1 :]])[REGION].sum() >= replicas
        )
    return tuple(_room(topology, limit))


def _room(topology: Topology, limit: list[int]) -> list[IntArray]:
    """What each tree node can take of one partition when tier t takes at most limit[t]."""
    room: list[IntArray] = [np.where(topology.weight > 0, limit[DEVICE], 0)]
    for tier in (NODE, ZONE, REGION):
        below = np.zeros(topology.size(tier), dtype=np.int64)
        np.add.at(below, topology.parent[tier + 1], room[0])
        room.insert(0, np.minimum(below, limit[tier]))
    return room


def shares(topology: Topology, caps: tuple[IntArray, ...], replicas: int) -> FloatArray:
    """Each leaf's share, replicas per partition, under `caps` in all tiers."""
    weight = topology.weight / topology.weight.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.where(weight > 0, caps[DEVICE] / weight, 0.0)
    for tier in (NODE, ZONE, REGION):
        member = topology.member[tier]
        level = _fill_level(weight, full, member, caps[tier].astype(np.float64))
        full = np.minimum(full, level[member])
    whole = np.zeros(topology.leaf_count, dtype=np.int64)
    top = _fill_level(weight, full, whole, np.array([float(replicas)]))
    share: FloatArray = weight * np.minimum(full, top[0])
    return share


def _fill_level(weight: FloatArray, full: FloatArray, group: IntArray, room: FloatArray) -> FloatArray:
    """Per group the level L with sum(weight * min(L, full)) = room; inf where it can't be reached.

    The sum is concave and piecewise linear in L, so Newton's steps from zero never overshoot and end
    exactly on the last piece.
    """
    size = len(room)
    most = np.bincount(group, weight * full, size)
    short = most <= room * (1 + 1e-12)
    level = np.zeros(size)
    while True:
        filled = np.bincount(group, weight * np.minimum(level[group], full), size)
        slope = np.bincount(group, np.where(level[group] < full, weight, 0.0), size)
        gap = room - filled
        going = ~short & (gap > room * 1e-13) & (slope > 0)
        if not going.any():
            return np.where(short, np.inf, level)
        step = level + gap / np.where(slope > 0, slope, 1.0)
        going &= step > level
        if not going.any():
            return np.where(short, np.inf, level)
        level = np.where(going, step, level)


def _weighted_shares(topology: Topology, caps: tuple[IntArray, ...], replicas: int) -> FloatArray:
    loose = [np.full(topology.size(tier), replicas, dtype=np.int64) for tier in TIERS]
    loose[DEVICE] = caps[DEVICE]
    return shares(topology, tuple(loose), replicas)


def _limit_overload(weighted: FloatArray, dispersed: FloatArray, overload: float) -> FloatArray:
    """Go from the weighted shares towards the dispersed ones as far as no device is overloaded."""
    if math.isinf(overload):
        return dispersed
    gain = dispersed - weighted
    gaining = gain > 1e-12
    if not gaining.any():
        return dispersed
    reach = min(1.0, float((overload * weighted[gaining] / gain[gaining]).min()))
    return weighted + reach * gain


def _snapped(topology: Topology, leaf: FloatArray) -> tuple[FloatArray, ...]:
    """Shares per tier, with float noise around whole numbers removed from the bottom up."""
    fair = [_snap(leaf)]
    for tier in (NODE, ZONE, REGION):
        fair.insert(0, _snap(_summed(fair[0], topology.parent[tier + 1], topology.size(tier))))
    return tuple(fair)


def _summed(values: FloatArray | IntArray, group: IntArray, size: int) -> FloatArray:
    total: FloatArray = np.bincount(group, values, size).astype(np.float64)
    return total


def _snap(values: FloatArray) -> FloatArray:
    whole = np.rint(values)
    return np.where(np.abs(values - whole) < SNAP, whole, values)


def _round(
    topology: Topology,
    fair: tuple[FloatArray, ...],
    held: IntArray,
    total: int,
    partitions: int,
) -> tuple[IntArray, ...]:
    above = np.array([total], dtype=np.int64)
    counts: list[IntArray] = []
    for tier in TIERS:
        holds = _summed(held, topology.member[tier], topology.size(tier))
        above = _round_tier(fair[tier], topology.parent[tier], above, holds)
        counts.append(above)
    return tuple(counts)


def _round_tier(fair: FloatArray, parent: IntArray, total: IntArray, held: FloatArray) -> IntArray:
    """Floors, plus one for the first few children of each parent until its total is met.

    First come children that hold more than the floor already, then the largest remainders.
    """
    base = np.floor(fair).astype(np.int64)
    remainder = fair - base
    spare = total - np.bincount(parent, base, len(total)).astype(np.int64)
    order = np.lexsort((-remainder, held <= base, remainder < SNAP / 2, fair == 0, parent))
    rank = rank_in_group(parent[order])
    counts = base
    counts[order] += rank < spare[parent[order]]
    return counts


def rank_in_group(groups: IntArray) -> IntArray:
    """Position of each entry within its run; `groups` is sorted."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    lengths = np.diff(np.r_[starts, len(groups)])
    return np.arange(len(groups)) - np.repeat(starts, lengths)
