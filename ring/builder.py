"""The builder: a ring from nothing, and the ring of the next epoch.

`build`, `plan` and `apply` are pure: devices and rings in, rings out, the same result for the same
input (chance is seeded by the salt, the epoch and the placement's name). The parts are in
`ring.quota` (how much), `ring.scatter` (from nothing), `ring.rebalance` (with the fewest moves) and
`ring.plan`. Called by `atoll up` for a fresh store and by `atoll ring`.
"""

import math
import re
from collections.abc import Callable, Sequence

from ring.aim import aim_of, as_ids, chance
from ring.errors import InvalidDevice, InvalidPlacement, NotEnoughDevices, RingError, StalePlan
from ring.lookup import Ring
from ring.plan import Plan, plan, recent_steps
from ring.scatter import scatter
from ring.types import (
    DEVICES_MAX,
    MIN_PART_HOURS_MAX,
    PART_POWER_MAX,
    PLACEMENTS_MAX,
    Device,
    IdTable,
    Placement,
)

__all__ = ["MIN_PART_HOURS_DEFAULT", "Plan", "apply", "build", "plan"]

MIN_PART_HOURS_DEFAULT = 1

_CLUSTER_ID = re.compile(r"[0-9a-f]{32}")


def build(
    devices: Sequence[Device],
    placements: Sequence[Placement],
    part_power: int,
    salt: int,
    *,
    cluster_id: str,
    min_part_hours: int = MIN_PART_HOURS_DEFAULT,
    overload: float = math.inf,
    on_placement: Callable[[str], None] | None = None,
) -> Ring:
    """The first epoch of a ring.

    salt: 64 random bits. cluster_id: 32 hex digits. Raises RingError with what is wrong with them.
    """
    _check_numbers(part_power, salt, cluster_id, min_part_hours, overload)
    _check_distinct(devices, placements)
    ordered = tuple(sorted(devices, key=lambda device: device.id))
    next_id = ordered[-1].id + 1
    tables: dict[str, IdTable] = {}
    for placement in placements:
        if on_placement:
            on_placement(placement.name)
        aim = aim_of(ordered, placement, part_power, overload)
        rng = chance(salt, 1, placement.name)
        leaves = scatter(aim.topology, aim.quota, placement.replicas, 1 << part_power, rng)
        tables[placement.name] = as_ids(aim.topology, leaves, next_id)
    return Ring(
        epoch=1,
        cluster_id=cluster_id,
        salt=salt,
        part_power=part_power,
        min_part_hours=min_part_hours,
        overload=overload,
        next_device_id=next_id,
        devices=ordered,
        placements=tuple(placements),
        tables=tables,
        steps={placement.name: () for placement in placements},
    )


def apply(ring: Ring, step: Plan) -> Ring:
    """The ring of the next epoch. Raises StalePlan if the plan was made for another one."""
    if step.epoch != ring.epoch:
        raise StalePlan("plan", step.epoch, ring.epoch)
    steps = {}
    for part in step.parts:
        name = part.placement.name
        recent = recent_steps(ring, name, step.at_s) if name in ring.tables else ()
        steps[name] = (*recent, part.moves) if len(part.moves) else recent
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=step.next_device_id,
        devices=step.devices,
        placements=tuple(part.placement for part in step.parts),
        tables={part.placement.name: part.table for part in step.parts},
        steps=steps,
    )


def _check_numbers(
    part_power: int, salt: int, cluster_id: str, min_part_hours: int, overload: float
) -> None:
    if not 0 <= part_power <= PART_POWER_MAX:
        raise RingError(f"the part power {part_power} is not within 0 … {PART_POWER_MAX}")
    if not 0 <= salt < 1 << 64:
        raise RingError("a ring's salt is a number of 64 bits")
    if not _CLUSTER_ID.fullmatch(cluster_id):
        raise RingError("a cluster id is 32 hex digits")
    if not 0 <= min_part_hours <= MIN_PART_HOURS_MAX:
        raise RingError(f"min_part_hours is not within 0 … {MIN_PART_HOURS_MAX}")
    if not overload >= 0:
        raise RingError("the overload is a number from 0 on")


def _check_distinct(devices: Sequence[Device], placements: Sequence[Placement]) -> None:
    if not devices:
        raise NotEnoughDevices("a ring needs at least one device")
    if len(devices) > DEVICES_MAX:
        raise InvalidDevice(f"a ring has at most {DEVICES_MAX} devices")
    if len({device.id for device in devices}) != len(devices):
        raise InvalidDevice("two devices have the same id")
    if not 1 <= len(placements) <= PLACEMENTS_MAX:
        raise InvalidPlacement(f"a ring has 1 … {PLACEMENTS_MAX} placements")
    if len({placement.name for placement in placements}) != len(placements):
        raise InvalidPlacement("two placements have the same name")
