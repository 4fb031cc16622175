"""Rings after a change: settled, reverted, doubled."""

import numpy as np
import pytest

from ring.builder import apply, build, plan
from ring.draft import AddDevice, Draft, RemoveDevice
from ring.epochs import doubled, is_joint, reverted, settled
from ring.errors import InvalidChange
from ring.file import decode, encode
from ring.lookup import Ring
from ring.types import ROWS, Device, default_placements
from ring.verify import verify

NOW_S = 1_700_000_000


def device(number: int) -> Device:
    zone = f"z{number % 4}"
    return Device(number, f"{number + 1:032x}", "r", zone, f"n{number}", "h:1", f"/d{number}", 1.0)


def ring_of(devices: int = 6) -> Ring:
    members = [device(number) for number in range(devices)]
    return build(members, default_placements(devices), 6, 7, cluster_id="0" * 32, min_part_hours=0)


def grown(ring: Ring) -> Ring:
    draft = Draft(ring.epoch).with_change(ring, AddDevice(device(ring.next_device_id)))
    return apply(ring, plan(ring, draft, NOW_S))


def test_a_joint_ring_settles_to_the_same_tables() -> None:
    joint = grown(ring_of())
    assert is_joint(joint, ROWS)
    after = settled(joint)
    assert after.epoch == joint.epoch + 1
    assert not is_joint(after, ROWS)
    assert np.array_equal(after.tables[ROWS], joint.tables[ROWS])
    assert after.steps == joint.steps
    assert verify(decode(encode(after))).sound


def test_a_joint_ring_reverts_to_the_tables_before() -> None:
    before = ring_of()
    joint = grown(before)
    after = reverted(joint)
    assert after.epoch == joint.epoch + 1
    assert not is_joint(after, ROWS)
    for name, table in before.tables.items():
        assert np.array_equal(after.tables[name], table)
    moved, back = joint.steps[ROWS][-1], after.steps[ROWS][-1]
    assert np.array_equal(back.sources, joint.tables[ROWS][moved.replicas, moved.partitions])


def test_what_came_from_a_lost_device_does_not_go_back() -> None:
    ring = ring_of()
    draft = Draft(ring.epoch).with_change(ring, RemoveDevice(2, lost=True))
    joint = apply(ring, plan(ring, draft, NOW_S))
    with pytest.raises(InvalidChange, match="device 2, which has left the ring"):
        reverted(joint)


def test_a_quiet_ring_has_nothing_to_settle_or_revert() -> None:
    with pytest.raises(InvalidChange):
        settled(ring_of())
    with pytest.raises(InvalidChange):
        reverted(ring_of())


def test_twice_the_partitions_hold_every_name_where_it_was() -> None:
    ring = settled(grown(ring_of()))
    after = doubled(ring)
    assert after.part_power == ring.part_power + 1
    assert np.array_equal(decode(encode(after)).tables[ROWS], after.tables[ROWS])
    for number in range(2000):
        name = b"%d" % number
        for placement in ring.placements:
            there = ring.devices(placement.name, ring.partition(name))
            assert after.devices(placement.name, after.partition(name)) == there
    old = ring.steps[ROWS][-1]
    new = after.steps[ROWS][-1]
    assert sorted(new.partitions.tolist()) == sorted(
        half for p in old.partitions.tolist() for half in (2 * p, 2 * p + 1)
    )
    assert not is_joint(after, ROWS)


def test_a_ring_on_the_move_is_not_doubled() -> None:
    with pytest.raises(InvalidChange, match="under way"):
        doubled(grown(ring_of()))
