"""Placements from nothing: exact, wide, and well mixed."""

from collections import Counter

import numpy as np
import pytest

from ring.builder import build
from ring.types import Device, Placement
from tests.unit.ring.clusters import CLUSTER_ID, assert_settled, cluster, device

CASES = {
    "one device": ([device(0)], 1),
    "one device, three replicas": ([device(0)], 3),
    "six in a node": (cluster(1, 1, 6), 3),
    "ec-4-2 on six": (cluster(1, 1, 6), 6),
    "ec-4-2 on three": (cluster(3, 1, 1), 6),
    "two zones": (cluster(2, 2, 2, (1, 2, 5)), 3),
    "three zones": (cluster(3, 1, 2, (1, 3)), 3),
    "uneven zones": ([*cluster(2, 2, 2), device(8, 0.2, zone="z7")], 3),
    "five zones, wide": (cluster(5, 2, 1, (1, 4, 2)), 6),
    "more zones than replicas": (cluster(5, 1, 2, (3, 1, 2)), 2),
}


@pytest.mark.parametrize(("devices", "replicas"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("part_power", [0, 1, 5])
def test_a_fresh_ring_is_settled(devices: list[Device], replicas: int, part_power: int) -> None:
    placements = [Placement("p", replicas)]
    assert_settled(build(devices, placements, part_power, 7, cluster_id=CLUSTER_ID))


def test_every_set_of_zones_is_used_about_as_often() -> None:
    ring = build(cluster(5, 4, 1), [Placement("p", 3)], 12, 7, cluster_id=CLUSTER_ID)
    zones = Counter(
        tuple(sorted(ring.device(i).zone for i in column)) for column in ring.tables["p"].T.tolist()
    )
    assert len(zones) == 10
    assert max(zones.values()) < 1.3 * min(zones.values())


def test_a_lost_device_is_rebuilt_from_all_others() -> None:
    ring = build(cluster(4, 3, 3), [Placement("p", 3)], 12, 7, cluster_id=CLUSTER_ID)
    table = ring.tables["p"]
    peers = Counter(table[:, (table == 0).any(axis=0)].ravel().tolist())
    others = {d.id for d in ring.members if d.zone != "z0"}
    assert set(peers) == {0} | others


def test_each_position_is_shared_by_all_devices() -> None:
    ring = build(cluster(1, 1, 6), [Placement("p", 3)], 12, 7, cluster_id=CLUSTER_ID)
    for row in ring.tables["p"]:
        counts = np.bincount(row, minlength=6)
        assert counts.min() > 0.7 * counts.max()


def test_the_same_input_gives_the_same_ring() -> None:
    rings = [
        build(cluster(3, 2, 2), [Placement("p", 3)], 8, salt, cluster_id=CLUSTER_ID)
        for salt in (1, 1, 2)
    ]
    assert (rings[0].tables["p"] == rings[1].tables["p"]).all()
    assert (rings[0].tables["p"] != rings[2].tables["p"]).any()
