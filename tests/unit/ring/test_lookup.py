"""Names to partitions to devices."""

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from ring import lookup
from ring.builder import build
from ring.errors import UnknownDevice, UnknownPartition, UnknownPlacement
from ring.lookup import Ring
from ring.types import Placement, default_placements
from tests.unit.ring.clusters import CLUSTER_ID, cluster, device


def ring(part_power: int = 8, salt: int = 99) -> Ring:
    return build(cluster(3, 1, 2), default_placements(6), part_power, salt, cluster_id=CLUSTER_ID)


@pytest.mark.parametrize("part_power", [0, 1, 10])
def test_a_partition_is_the_top_bits_of_the_salted_hash(part_power: int) -> None:
    one = ring(part_power)
    for name in (b"", b"a", b"AUTH_demo/c/o", bytes(range(256))):
        expected = xxh3_64_intdigest(name, seed=99) >> (64 - part_power)
        assert one.partition(name) == expected < one.partition_count


def test_another_salt_places_names_elsewhere() -> None:
    names = [b"%d" % i for i in range(50)]
    one, other = ring(), ring(salt=100)
    assert [one.partition(n) for n in names] != [other.partition(n) for n in names]


def test_devices_are_the_column_of_the_table() -> None:
    one = ring()
    for placement in one.placements:
        for _ in range(2):
            for p in range(one.partition_count):
                expected = tuple(one.tables[placement.name][:, p].tolist())
                assert one.devices(placement.name, p) == expected
                assert len(expected) == placement.replicas


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "CACHE_MAX", 4)
    one = ring()
    for p in range(one.partition_count):
        assert one.devices("rows", p) == tuple(one.tables["rows"][:, p].tolist())
    assert len(one._cache["rows"]) <= 4


@pytest.mark.parametrize("partition", [-1, 256, 1 << 70])
def test_an_unknown_partition_is_an_error(partition: int) -> None:
    with pytest.raises(UnknownPartition):
        ring().devices("rows", partition)


def test_unknown_names_and_ids_are_errors() -> None:
    one = ring()
    with pytest.raises(UnknownPlacement):
        one.devices("nope", 0)
    with pytest.raises(UnknownPlacement):
        one.placement("nope")
    with pytest.raises(UnknownPlacement):
        one.held("nope")
    with pytest.raises(UnknownPlacement):
        one.moved_in_epoch("nope")
    with pytest.raises(UnknownDevice):
        one.device(6)


def test_devices_and_placements_by_name() -> None:
    one = ring()
    assert one.device(3).id == 3
    assert one.placement("ec-4-2") == Placement("ec-4-2", 6)
    assert one.held("rows") == dict.fromkeys(range(6), 128)


def test_a_ring_can_not_be_written_to() -> None:
    one = ring()
    with pytest.raises(ValueError, match="read-only"):
        one.tables["rows"][0, 0] = 1
    with pytest.raises(TypeError):
        one.tables["rows"] = np.zeros((1, 1), dtype=np.uint16)  # type: ignore[index]


def test_one_device_holds_everything() -> None:
    one = build([device(0)], default_placements(1), 4, 1, cluster_id=CLUSTER_ID)
    assert {one.devices("rows", p) for p in range(16)} == {(0,)}
