"""A device in the place of a lost one: exactly its partitions move, in one joint epoch."""

import numpy as np
import pytest

from ring.builder import build, plan
from ring.epochs import settled
from ring.errors import InvalidChange, UnknownDevice
from ring.file import decode, encode
from ring.lookup import Ring
from ring.replace import replaced
from ring.types import Device, DeviceState, Placement
from ring.verify import verify
from tests.unit.ring.clusters import CLUSTER_ID, cluster, device

INCARNATION = "f" * 32
NOW_S = 1_800_000_000
PLACEMENTS = (Placement("rows", 3), Placement("ec-4-2", 6))


def ring_of(devices: list[Device], placements: tuple[Placement, ...] = PLACEMENTS) -> Ring:
    return build(devices, placements, 6, 99, cluster_id=CLUSTER_ID)


@pytest.fixture
def ring() -> Ring:
    return ring_of(cluster(4, 1, 2))


def test_the_newcomer_has_exactly_the_old_ones_place(ring: Ring) -> None:
    after = replaced(ring, 3, INCARNATION, NOW_S)
    assert (after.epoch, after.next_device_id) == (2, 9)
    assert [member.id for member in after.members] == [0, 1, 2, 4, 5, 6, 7, 8]
    old, new = ring.device(3), after.device(8)
    assert (new.path, new.node, new.zone, new.weight) == (old.path, old.node, old.zone, old.weight)
    assert new.incarnation == INCARNATION
    for name, table in ring.tables.items():
        moved = table == 3
        assert moved.any()
        assert np.array_equal(after.tables[name] == 8, moved)
        assert np.array_equal(after.tables[name][~moved], table[~moved])


def test_the_moves_come_from_the_old_one(ring: Ring) -> None:
    after = replaced(ring, 3, INCARNATION, NOW_S)
    for name in ring.tables:
        step = after.moved_in_epoch(name)
        assert step is not None
        assert set(step.sources.tolist()) == {3}
        assert (ring.tables[name][step.replicas, step.partitions] == 3).all()
        assert len(step) == ring.held(name)[3]


def test_the_ring_is_as_good_as_before_and_a_file(ring: Ring) -> None:
    after = replaced(ring, 3, INCARNATION, NOW_S)
    assert verify(after).sound
    assert encode(decode(encode(after))) == encode(after)
    assert plan(settled(after), None, NOW_S + 10).moves == 0


def test_another_one_after_it(ring: Ring) -> None:
    after = replaced(ring, 3, INCARNATION, NOW_S)
    with pytest.raises(InvalidChange, match="still moving"):
        replaced(after, 4, "e" * 32, NOW_S + 1)
    again = replaced(settled(after), 8, "e" * 32, NOW_S + 1)
    assert again.members[-1].id == 9
    assert verify(again).sound


def test_ids_grow_wider_where_they_must() -> None:
    devices = [device(number) for number in (0, 1, 65_535)]
    ring = ring_of(devices, (Placement("rows", 3),))
    assert ring.tables["rows"].dtype.itemsize == 2
    after = replaced(ring, 0, INCARNATION, NOW_S)
    assert after.tables["rows"].dtype.itemsize == 4
    assert encode(decode(encode(after))) == encode(after)


def test_what_cannot_be_replaced(ring: Ring) -> None:
    with pytest.raises(UnknownDevice):
        replaced(ring, 99, INCARNATION, NOW_S)
    leaving = cluster(4, 1, 2)
    leaving[3] = device(3, zone="z1", node="n1-0", state=DeviceState.LEAVING)
    with pytest.raises(InvalidChange, match="leaving"):
        replaced(ring_of(leaving), 3, INCARNATION, NOW_S)
    with pytest.raises(InvalidChange, match="nothing else holds"):
        replaced(ring_of([device(0)], (Placement("rows", 1),)), 0, INCARNATION, NOW_S)
