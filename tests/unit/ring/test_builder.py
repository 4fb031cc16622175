"""Build, plan and apply: refusals, epochs, windows, growth."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ring.builder import apply, build, plan
from ring.draft import AddDevice, AddPlacement, Change, Draft, RemoveDevice, SetWeight
from ring.errors import (
    InvalidDevice,
    InvalidPlacement,
    NotEnoughDevices,
    RingError,
    StalePlan,
    UnknownDevice,
)
from ring.lookup import Ring
from ring.types import NO_DEVICE, DeviceState, Placement, default_placements
from ring.verify import verify
from tests.unit.ring.clusters import CLUSTER_ID, assert_settled, cluster, device

HOUR_S = 3600
NOW_S = 1_700_000_000


def ring(zones: int = 3, per_zone: int = 2, **options: Any) -> Ring:
    devices = cluster(zones, 1, per_zone)
    placements = default_placements(len(devices))
    return build(devices, placements, 6, 42, cluster_id=CLUSTER_ID, **options)


def draft(one: Ring, *changes: Change) -> Draft:
    return Draft(one.epoch, changes)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"part_power": -1}, RingError),
        ({"part_power": 25}, RingError),
        ({"salt": -1}, RingError),
        ({"salt": 1 << 64}, RingError),
        ({"cluster_id": "x"}, RingError),
        ({"min_part_hours": -1}, RingError),
        ({"overload": float("nan")}, RingError),
        ({"overload": -0.1}, RingError),
        ({"devices": []}, NotEnoughDevices),
        ({"devices": [device(0, 0.0)]}, NotEnoughDevices),
        ({"devices": [device(0), device(0)]}, InvalidDevice),
        ({"placements": []}, InvalidPlacement),
        ({"placements": [Placement("a", 1), Placement("a", 2)]}, InvalidPlacement),
        ({"placements": [Placement("rows", 3)], "devices": cluster(1, 1, 2)}, NotEnoughDevices),
        ({"placements": [Placement("fast", 1, "ssd")]}, NotEnoughDevices),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], error: type[RingError]) -> None:
    good: dict[str, Any] = {
        "devices": [device(0)],
        "placements": [Placement("a", 1)],
        "part_power": 4,
        "salt": 1,
        "cluster_id": CLUSTER_ID,
    }
    with pytest.raises(error):
        build(**{**good, **options})


def test_a_settled_ring_has_nothing_to_plan() -> None:
    step = plan(ring(), None, NOW_S)
    assert not step.changes_ring
    assert (step.moves, step.lower_bound, step.left) == (0, 0, 0)


def test_plan_and_apply_leave_the_old_ring_alone() -> None:
    one = ring()
    tables = {name: table.copy() for name, table in one.tables.items()}
    after = apply(one, plan(one, draft(one, SetWeight(0, 3.0)), NOW_S))
    assert one.epoch == 1
    assert after.epoch == 2
    assert all((one.tables[name] == table).all() for name, table in tables.items())


def test_the_plan_says_where_every_move_goes() -> None:
    one = ring()
    step = plan(one, draft(one, AddDevice(device(6, zone="z0", node="n9"))), NOW_S)
    after = apply(one, step)
    for part in step.parts:
        name = part.placement.name
        p, r = part.moves.partitions, part.moves.replicas
        assert (one.tables[name][r, p] == part.moves.sources).all()
        assert (after.tables[name][r, p] == part.targets).all()
        assert (after.tables[name] != one.tables[name]).sum() == len(part.moves)
        assert len(part.moves) == part.lower_bound
        assert part.left == 0
        assert after.moved_in_epoch(name) == part.moves


def test_a_plan_of_another_epoch_is_refused() -> None:
    one = ring()
    step = plan(one, draft(one, SetWeight(0, 3.0)), NOW_S)
    after = apply(one, step)
    with pytest.raises(StalePlan):
        apply(after, step)
    with pytest.raises(StalePlan):
        plan(after, draft(one), NOW_S)


def test_a_partition_that_moved_stays_until_its_window_is_over() -> None:
    one = ring(zones=1, per_zone=6, min_part_hours=2)
    first = plan(one, draft(one, RemoveDevice(0), RemoveDevice(1)), NOW_S)
    after = apply(one, first)
    early = plan(after, None, NOW_S + 2 * HOUR_S - 1)
    rows = next(part for part in early.parts if part.placement.name == "rows")
    moved = set(first.parts[0].moves.partitions.tolist())
    assert first.left > 0
    assert rows.frozen == len(moved)
    assert not moved & set(rows.moves.partitions.tolist())
    late = plan(after, None, NOW_S + 2 * HOUR_S)
    assert late.moves > early.moves
    assert late.left == 0
    final = apply(after, late)
    assert 0 not in np.unique(final.tables["rows"])


def test_a_leaving_device_goes_when_it_is_empty_and_nothing_is_read_from_it() -> None:
    one = ring(per_zone=3)
    step = plan(one, draft(one, RemoveDevice(0)), NOW_S)
    after = apply(one, step)
    assert step.dropped == ()
    assert after.device(0).state is DeviceState.LEAVING
    assert sum(after.held(p.name)[0] for p in after.placements) == 0
    assert not plan(after, None, NOW_S + HOUR_S - 1).changes_ring
    late = plan(after, None, NOW_S + HOUR_S)
    assert late.dropped == (0,)
    assert late.changes_ring
    final = apply(after, late)
    with pytest.raises(UnknownDevice):
        final.device(0)
    assert_settled(final)


def test_a_lost_device_goes_at_once_though_its_partitions_moved_just_now() -> None:
    one = ring(per_zone=3)
    after = apply(one, plan(one, draft(one, AddDevice(device(9, zone="z1", node="n1-0"))), NOW_S))
    step = plan(after, draft(after, RemoveDevice(9, lost=True)), NOW_S)
    assert step.dropped == (9,)
    final = apply(after, step)
    assert all(9 not in np.unique(table) for table in final.tables.values())


def test_ids_are_never_used_again() -> None:
    one = ring(per_zone=3)
    step = plan(one, draft(one, RemoveDevice(8, lost=True)), NOW_S)
    after = apply(one, step)
    assert after.next_device_id == 9
    again = plan(after, draft(after, AddDevice(device(9, zone="z2", node="n2-0"))), NOW_S)
    assert apply(after, again).next_device_id == 10


def test_rows_grow_with_the_first_devices() -> None:
    one = build([device(0)], default_placements(1), 5, 1, cluster_id=CLUSTER_ID)
    two = apply(one, plan(one, draft(one, AddDevice(device(1))), NOW_S))
    assert two.placement("rows").replicas == 2
    step = plan(two, draft(two, AddDevice(device(2)), AddDevice(device(3))), NOW_S + HOUR_S)
    grown = apply(two, step)
    assert grown.placement("rows").replicas == 3
    rows = step.parts[0]
    assert (rows.moves.sources[rows.moves.replicas == 2] == NO_DEVICE).all()
    assert grown.devices("rows", 0) != two.devices("rows", 0)
    later = apply(grown, plan(grown, None, NOW_S + 3 * HOUR_S))
    assert verify(later).sound
    assert_settled(later)


def test_a_new_placement_is_made_without_a_move() -> None:
    one = ring()
    step = plan(one, draft(one, AddPlacement(Placement("ec-2-1", 3))), NOW_S)
    assert step.moves == 0
    assert step.changes_ring
    after = apply(one, step)
    assert after.devices("ec-2-1", 0)
    assert_settled(after)


def test_a_placement_keeps_to_its_class() -> None:
    devices = [device(i, device_class="ssd" if i % 2 else "hdd") for i in range(8)]
    placements = [Placement("rows", 3, "ssd"), Placement("bulk", 2, "hdd"), Placement("any", 3)]
    one = build(devices, placements, 6, 1, cluster_id=CLUSTER_ID)
    assert set(np.unique(one.tables["rows"])) == {1, 3, 5, 7}
    assert set(np.unique(one.tables["bulk"])) == {0, 2, 4, 6}
    assert_settled(one)
    with pytest.raises(NotEnoughDevices, match="class ssd"):
        plan(one, draft(one, RemoveDevice(1), RemoveDevice(3)), NOW_S)


def test_rows_must_not_fall_below_a_device_per_replica() -> None:
    one = ring(zones=3, per_zone=1)
    with pytest.raises(NotEnoughDevices, match="rows"):
        plan(one, draft(one, RemoveDevice(0)), NOW_S)
    with pytest.raises(NotEnoughDevices, match="rows"):
        plan(one, draft(one, SetWeight(0, 0.0)), NOW_S)


def test_weight_zero_drains_and_keeps_the_device() -> None:
    one = ring(per_zone=3)
    after = apply(one, plan(one, draft(one, SetWeight(4, 0.0)), NOW_S))
    assert sum(after.held(p.name)[4] for p in after.placements) == 0
    later = plan(after, None, NOW_S + 9 * HOUR_S)
    assert not later.changes_ring
    assert_settled(after)


def test_a_small_device_filled_for_dispersion_is_named() -> None:
    one = build(cluster(2, 1, 4), [Placement("p", 3)], 6, 1, cluster_id=CLUSTER_ID)
    step = plan(one, draft(one, AddDevice(device(8, 0.1, zone="z9", node="n9"))), NOW_S)
    assert step.parts[0].overfilled[8] > 10


def test_ids_beyond_two_bytes_widen_the_tables() -> None:
    devices = [dataclasses.replace(d, id=d.id + 65_533) for d in cluster(1, 1, 3)]
    one = build(devices, [Placement("p", 2)], 3, 1, cluster_id=CLUSTER_ID)
    assert one.tables["p"].dtype == np.uint16
    after = apply(one, plan(one, draft(one, AddDevice(device(65_536, zone="z0", node="n0-0"))), NOW_S))
    assert after.tables["p"].dtype == np.uint32
    assert after.held("p")[65_536] == 4


def test_each_placement_is_announced() -> None:
    one, names = ring(), list[str]()
    plan(one, None, NOW_S, names.append)
    assert names == ["rows", "replicated-3", "ec-4-2"]
