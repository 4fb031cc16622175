"""Whether a ring is what it promises: every replica on a known device of its own, spread as widely
as the devices allow, and every device within one partition-replica of its fair share.

The checksum is the file's affair (`ring.file.load`); this looks at what the file says.
"""

from dataclasses import dataclass

import numpy as np

from ring.aim import aim_of, as_leaves
from ring.errors import NotEnoughDevices
from ring.lookup import Ring
from ring.measure import Measure, measure
from ring.types import IdTable, Placement


@dataclass(frozen=True)
class Report:
    """faults: sentences, none where all is well. measures: per placement that could be measured."""

    faults: tuple[str, ...]
    measures: dict[str, Measure]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(ring: Ring) -> Report:
    """Check every invariant of a ring. Changes nothing, raises nothing for a bad ring."""
    faults: list[str] = []
    measures: dict[str, Measure] = {}
    for placement in ring.placements:
        table = ring.tables[placement.name]
        wrong = _wrong_table(ring, placement, table)
        if wrong:
            faults.append(wrong)
            continue
        try:
            measures[placement.name] = _measure(ring, placement)
        except NotEnoughDevices as error:
            faults.append(str(error))
            continue
        faults += _shortcomings(placement, measures[placement.name])
    return Report(tuple(faults), measures)


def _wrong_table(ring: Ring, placement: Placement, table: IdTable) -> str:
    if table.shape != (placement.replicas, ring.partition_count):
        return f"placement {placement.name}: its table has the wrong shape"
    strange = set(np.unique(table).tolist()) - {device.id for device in ring.members}
    if strange:
        return f"placement {placement.name}: device {min(strange)} is not in the ring"
    return ""


def _measure(ring: Ring, placement: Placement) -> Measure:
    table = ring.tables[placement.name]
    aim = aim_of(ring.members, placement, ring.part_power, ring.overload, table)
    return measure(aim.topology, aim.quota, as_leaves(aim.topology, table, len(table)))


def _shortcomings(placement: Placement, found: Measure) -> list[str]:
    faults = [
        f"placement {placement.name}: {count} partitions are not spread over {tier}s as widely as "
        "they could be"
        for tier, count in found.broken.items()
        if count
    ]
    if found.worst > 1 + 1e-6:
        faults.append(
            f"placement {placement.name}: device {found.worst_id} is {found.worst:.1f} "
            "partition-replicas off its fair share"
        )
    return faults
