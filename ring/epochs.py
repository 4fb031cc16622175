"""The epochs of a ring change after its first: done or taken back; and twice as many partitions.

An epoch that moves partitions is joint for them: their old and new devices are asked together. The next
one names the new devices alone (`settled`), or the old ones again (`reverted`). All functions are pure;
who may make which epoch, and when, is `proxy/cluster/change.py`.
"""

from collections.abc import Mapping

import numpy as np

from ring.errors import InvalidChange
from ring.lookup import Ring
from ring.types import NO_DEVICE, PART_POWER_MAX, IdTable, Step


def is_joint(ring: Ring, placement: str) -> bool:
    """Whether this very epoch moves partitions of a placement."""
    step = ring.moved_in_epoch(placement)
    return step is not None and len(step) > 0


def joint_placements(ring: Ring) -> tuple[str, ...]:
    """The placements that this epoch moves partitions of."""
    return tuple(p.name for p in ring.placements if is_joint(ring, p.name))


def settled(ring: Ring) -> Ring:
    """The epoch after a joint one: the same tables, and the new devices alone.

    The steps stay: they tell where blobs may still be. InvalidChange where the ring is not joint.
    """
    if not joint_placements(ring):
        raise InvalidChange(f"epoch {ring.epoch} moves nothing")
    return _next(ring, dict(ring.tables), dict(ring.steps))


def reverted(ring: Ring) -> Ring:
    """The epoch that takes a joint one back: the old devices alone.

    They were asked all the time, so they lack nothing. What was placed on the new ones meanwhile is
    found there by the reversed step, and moved back. InvalidChange where the ring is not joint, or a
    replica had no device before or one that has left the ring.
    """
    names = joint_placements(ring)
    if not names:
        raise InvalidChange(f"epoch {ring.epoch} moves nothing")
    present = {device.id for device in ring.members}
    tables, steps = dict(ring.tables), dict(ring.steps)
    for name in names:
        step = ring.steps[name][-1]
        gone = set(step.sources.tolist()) - present
        if gone:
            what = "none" if gone == {NO_DEVICE} else f"device {min(gone)}, which has left the ring"
            raise InvalidChange(f"{name}: partitions came from {what}; this epoch can't be taken back")
        table = ring.tables[name].copy()
        back = table[step.replicas, step.partitions].astype(np.uint32)
        table[step.replicas, step.partitions] = step.sources
        tables[name] = table
        # Its epoch is the joint one: nothing is joint any more, but blobs are looked for there.
        undone = Step(ring.epoch, step.at_s, step.partitions, step.replicas, back)
        steps[name] = (*ring.steps[name][:-1], undone)
    return _next(ring, tables, steps)


def doubled(ring: Ring) -> Ring:
    """The ring with one more bit of part power: each partition becomes two on the same devices.

    Nothing moves, and no name changes its devices. What was within one partition of its share is within
    two of the new ones; the next plan evens that out. InvalidChange where the ring is joint, or has as
    many partitions as it may.
    """
    if joint_placements(ring):
        raise InvalidChange("a ring change is under way")
    if ring.part_power >= PART_POWER_MAX:
        raise InvalidChange(f"the part power is {PART_POWER_MAX}, the most there is")
    tables: dict[str, IdTable] = {
        name: np.repeat(table, 2, axis=1) for name, table in ring.tables.items()
    }
    steps = {name: tuple(_doubled_step(s) for s in recent) for name, recent in ring.steps.items()}
    return _next(ring, tables, steps, ring.part_power + 1)


def _doubled_step(step: Step) -> Step:
    partitions = np.repeat(step.partitions.astype(np.uint32) * np.uint32(2), 2)
    partitions[1::2] += np.uint32(1)
    replicas, sources = np.repeat(step.replicas, 2), np.repeat(step.sources, 2)
    return Step(step.epoch, step.at_s, partitions, replicas, sources)


def _next(
    ring: Ring,
    tables: Mapping[str, IdTable],
    steps: Mapping[str, tuple[Step, ...]],
    part_power: int | None = None,
) -> Ring:
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power if part_power is None else part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=ring.next_device_id,
        devices=ring.members,
        placements=ring.placements,
        tables=tables,
        steps=steps,
    )
