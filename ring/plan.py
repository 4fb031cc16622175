"""The plan of one step: what moves, why it must, and what it leaves for later. Nothing is written.

`plan` is pure. `ring.builder.apply` makes the next epoch of it; `atoll ring plan` shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ring.aim import Aim, aim_of, as_ids, as_leaves, chance
from ring.board import VACANT
from ring.draft import Draft, target_of
from ring.lookup import Ring
from ring.measure import Measure, measure
from ring.rebalance import lower_bound, rebalance
from ring.scatter import scatter
from ring.topology import DEVICE
from ring.types import (
    NO_DEVICE,
    BoolArray,
    Device,
    DeviceState,
    IdTable,
    IntArray,
    Placement,
    Step,
)

OVERFILL_SHOWN = 1.5
"""A device filled this many times beyond its share by weight is named in the plan."""


@dataclass(frozen=True)
class PlacementPlan:
    """What one step does to one placement.

    table: the device ids afterwards. moves: what changes place. lower_bound: moves that no way to
    the target can do without; left: the same from where this step ends. frozen: partitions that may
    not move yet. overfilled: device id -> how many times its share by weight it is to hold, for the
    sake of dispersion.
    """

    placement: Placement
    table: IdTable
    moves: Step
    targets: IntArray
    lower_bound: int
    left: int
    frozen: int
    before: Measure
    after: Measure
    overfilled: Mapping[int, float]


@dataclass(frozen=True)
class Plan:
    """One step from a ring's epoch to the next, not carried out.

    dropped: devices that hold nothing any more and leave the ring with this step.
    """

    epoch: int
    at_s: int
    devices: tuple[Device, ...]
    dropped: tuple[int, ...]
    next_device_id: int
    parts: tuple[PlacementPlan, ...]
    changes_ring: bool

    @property
    def moves(self) -> int:
        """Partition-replicas that this step moves, in all placements."""
        return sum(len(part.moves) for part in self.parts)

    @property
    def lower_bound(self) -> int:
        """Moves that no way to the target can do without, in all placements."""
        return sum(part.lower_bound for part in self.parts)

    @property
    def left(self) -> int:
        """At least so many moves remain for later steps."""
        return sum(part.left for part in self.parts)


@dataclass(frozen=True)
class _Stage:
    """What the plans of all placements have in common."""

    ring: Ring
    devices: tuple[Device, ...]
    next_device_id: int
    now_s: int


def plan(
    ring: Ring,
    draft: Draft | None,
    now_s: int,
    on_placement: Callable[[str], None] | None = None,
) -> Plan:
    """The next step from `ring` towards what `draft` asks for, or towards balance without one.

    now_s: seconds since the Unix epoch; partitions moved less than `min_part_hours` before it stay.
    Raises StalePlan, InvalidChange, UnknownDevice, NotEnoughDevices.
    """
    target = target_of(ring, draft or Draft(ring.epoch))
    devices = _without_idle(target.devices, ring, now_s)
    stage = _Stage(ring, devices, target.next_device_id, now_s)
    parts: list[PlacementPlan] = []
    for placement in target.placements:
        if on_placement:
            on_placement(placement.name)
        known = placement.name in ring.tables
        parts.append((_plan_moves if known else _plan_new)(stage, placement))
    devices = _without_lost(devices, parts)
    staying = {device.id for device in devices}
    changed = devices != ring.members or target.placements != ring.placements
    return Plan(
        epoch=ring.epoch,
        at_s=now_s,
        devices=devices,
        dropped=tuple(d.id for d in target.devices if d.id not in staying),
        next_device_id=target.next_device_id,
        parts=tuple(parts),
        changes_ring=changed or any(len(part.moves) for part in parts),
    )


def recent_steps(ring: Ring, name: str, now_s: int) -> tuple[Step, ...]:
    """The steps of a placement whose partitions may not move again yet."""
    window_s = ring.min_part_hours * 3600
    return tuple(step for step in ring.steps[name] if step.at_s > now_s - window_s)


def _plan_moves(stage: _Stage, placement: Placement) -> PlacementPlan:
    ring, table = stage.ring, stage.ring.tables[placement.name]
    aim = aim_of(stage.devices, placement, ring.part_power, ring.overload, table)
    before = as_leaves(aim.topology, table, placement.replicas)
    frozen = np.zeros(ring.partition_count, dtype=np.bool_)
    for step in recent_steps(ring, placement.name, stage.now_s):
        frozen[step.partitions] = True
    rng = chance(ring.salt, ring.epoch + 1, placement.name)
    after = rebalance(aim.topology, aim.quota, before, frozen, rng)
    return _described(stage, aim, before, after, frozen)


def _plan_new(stage: _Stage, placement: Placement) -> PlacementPlan:
    """A placement that the ring doesn't have yet: there is nothing to move."""
    ring = stage.ring
    aim = aim_of(stage.devices, placement, ring.part_power, ring.overload)
    rng = chance(ring.salt, ring.epoch + 1, placement.name)
    table = scatter(aim.topology, aim.quota, placement.replicas, ring.partition_count, rng)
    return _described(stage, aim, table, table, np.zeros(ring.partition_count, dtype=np.bool_))


def _described(
    stage: _Stage, aim: Aim, before: IntArray, after: IntArray, frozen: BoolArray
) -> PlacementPlan:
    topology, quota = aim.topology, aim.quota
    replicas, partitions = np.nonzero(before != after)
    sources = before[replicas, partitions]
    moves = Step(
        epoch=stage.ring.epoch + 1,
        at_s=stage.now_s,
        partitions=partitions.astype(np.uint32),
        replicas=replicas.astype(np.uint8),
        sources=np.where(sources == VACANT, NO_DEVICE, topology.ids[sources]).astype(np.uint32),
    )
    return PlacementPlan(
        placement=aim.placement,
        table=as_ids(topology, after, stage.next_device_id),
        moves=moves,
        targets=topology.ids[after[replicas, partitions]],
        lower_bound=lower_bound(topology, quota, before),
        left=lower_bound(topology, quota, after),
        frozen=int(frozen.sum()),
        before=measure(topology, quota, before),
        after=measure(topology, quota, after),
        overfilled=_overfilled(aim),
    )


def _overfilled(aim: Aim) -> dict[int, float]:
    weighted = np.where(aim.quota.weighted > 0, aim.quota.weighted, np.inf)
    times = aim.quota.fair[DEVICE] / weighted
    over = np.flatnonzero(times > OVERFILL_SHOWN)
    return {int(aim.topology.ids[leaf]): float(times[leaf]) for leaf in over}


def _without_idle(devices: Sequence[Device], ring: Ring, now_s: int) -> tuple[Device, ...]:
    """Leave out leaving devices that hold nothing and that no recent move may still read from."""
    busy: set[int] = set()
    for name, table in ring.tables.items():
        busy.update(np.unique(table).tolist())
        for step in recent_steps(ring, name, now_s):
            busy.update(np.unique(step.sources).tolist())
    return tuple(d for d in devices if d.state is DeviceState.ACTIVE or d.id in busy)


def _without_lost(devices: Sequence[Device], parts: Sequence[PlacementPlan]) -> tuple[Device, ...]:
    """Leave out lost devices that hold nothing after this step: nothing can be read from them."""
    holding: set[int] = set()
    for part in parts:
        holding.update(np.unique(part.table).tolist())
    return tuple(d for d in devices if d.state is not DeviceState.LOST or d.id in holding)
