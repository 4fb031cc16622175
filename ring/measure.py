"""What can be said about a table: how even it is and how widely it spreads each partition.

Used by the plan (before and after) and by `ring.verify`; decides nothing.
"""

from dataclasses import dataclass

import numpy as np

from ring.board import Tier
from ring.quota import Quota
from ring.topology import DEVICE, TIER_NAMES, TIERS, Topology
from ring.types import IntArray


@dataclass(frozen=True, slots=True)
class Measure:
    """worst: the largest distance of a device from its fair share, partition-replicas; worst_id: that
    device. worst_ratio: the same as a part of its fair share. broken: per tier, partitions that are
    not spread over it as evenly as the quotas allow.
    """

    worst: float
    worst_id: int
    worst_ratio: float
    broken: dict[str, int]

    @property
    def broken_total(self) -> int:
        """Partitions out of place in the tier where there are most of them."""
        return max(self.broken.values())


def measure(topology: Topology, quota: Quota, table: IntArray) -> Measure:
    """Measure a table of leaves against its quota."""
    held = np.bincount(table[table >= 0], minlength=topology.leaf_count)
    fair = quota.fair[DEVICE]
    apart = np.abs(held - fair)
    worst = int(apart.argmax())
    ratio = np.where(fair > 0, apart / np.where(fair > 0, fair, 1.0), 0.0)
    broken: dict[str, int] = {}
    for t in TIERS:
        tier = Tier(topology.member[t], quota.lower[t], quota.upper[t])
        broken[TIER_NAMES[t]] = int((tier.overfull(table) | tier.starved(table)).sum())
    return Measure(float(apart[worst]), int(topology.ids[worst]), float(ratio.max()), broken)
