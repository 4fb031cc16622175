"""What is wrong with a ring is said."""

import numpy as np

from ring.builder import build
from ring.lookup import Ring
from ring.types import Placement
from ring.verify import verify
from tests.unit.ring.clusters import CLUSTER_ID, cluster, device


def ring() -> Ring:
    return build(cluster(3, 1, 2), [Placement("p", 3)], 5, 1, cluster_id=CLUSTER_ID)


def spoiled(**fields: object) -> Ring:
    one = ring()
    known = ("epoch", "cluster_id", "salt", "part_power", "min_part_hours", "overload")
    given = {name: getattr(one, name) for name in (*known, "next_device_id", "placements")}
    given |= {"devices": one.members, "tables": dict(one.tables), "steps": dict(one.steps)}
    return Ring(**{**given, **fields})


def table() -> np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]:
    return ring().tables["p"].copy()


def test_a_fresh_ring_is_sound() -> None:
    report = verify(ring())
    assert report.sound
    assert report.measures["p"].worst < 1


def test_two_replicas_on_one_device_are_named() -> None:
    wrong = table()
    wrong[0, 0] = wrong[1, 0]
    faults = verify(spoiled(tables={"p": wrong})).faults
    assert any("devices" in fault for fault in faults)
    assert any("zones" in fault for fault in faults)


def test_an_uneven_ring_is_named() -> None:
    wrong = table()
    wrong[wrong == 0] = 1
    faults = verify(spoiled(tables={"p": wrong})).faults
    assert any("off its fair share" in fault for fault in faults)


def test_an_unknown_device_is_named() -> None:
    wrong = table()
    wrong[2, 3] = 77
    assert "device 77" in verify(spoiled(tables={"p": wrong})).faults[0]


def test_a_table_of_the_wrong_shape_is_named() -> None:
    assert "shape" in verify(spoiled(tables={"p": table()[:2]})).faults[0]


def test_a_ring_without_weight_is_named() -> None:
    devices = tuple(device(i, 0.0) for i in range(6))
    assert "weight" in verify(spoiled(devices=devices)).faults[0]
