"""Caps, shares and rounding, against restatements that try every choice or use fractions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring.errors import NotEnoughDevices
from ring.quota import quota_of, rank_in_group, shares, tier_caps
from ring.topology import DEVICE, TIERS, topology_of
from ring.types import Device
from tests.unit.ring.clusters import cluster, device, naive_caps, naive_shares

SMALL = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from("xy"),
        st.sampled_from("12"),
        st.sampled_from([0.25, 1.0, 1.0, 2.0, 7.0, 100.0]),
    ),
    min_size=1,
    max_size=7,
)


def placed(places: list[tuple[str, str, str, float]]) -> list[Device]:
    return [device(i, w, region=r, zone=z, node=n) for i, (r, z, n, w) in enumerate(places)]


@given(SMALL, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_caps_are_the_smallest_that_any_choice_reaches(
    places: list[tuple[str, str, str, float]], replicas: int
) -> None:
    devices = placed(places)
    caps = tier_caps(topology_of(devices), replicas)
    at_device, at_region, at_zone, at_node = naive_caps(devices, replicas)
    for tier, naive in enumerate((at_region, at_zone, at_node, at_device)):
        assert caps[tier].max() == naive, tier


@given(SMALL, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_shares_fill_in_proportion_until_a_domain_is_full(
    places: list[tuple[str, str, str, float]], replicas: int
) -> None:
    devices = placed(places)
    topology = topology_of(devices)
    found = shares(topology, tier_caps(topology, replicas), replicas)
    expected = naive_shares(devices, replicas, naive_caps(devices, replicas))
    for leaf, device_id in enumerate(topology.ids.tolist()):
        assert found[leaf] == pytest.approx(float(expected[device_id]), abs=1e-9)


@given(SMALL, st.integers(1, 6), st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_quotas_are_nested_whole_numbers_around_the_shares(
    places: list[tuple[str, str, str, float]], replicas: int, part_power: int
) -> None:
    topology = topology_of(placed(places))
    partitions = 1 << part_power
    held = np.random.default_rng(part_power).integers(0, partitions + 1, topology.leaf_count)
    quota = quota_of(topology, replicas, partitions, held)
    assert quota.count[0].sum() == replicas * partitions
    for tier in TIERS:
        assert (np.abs(quota.count[tier] - quota.fair[tier]) < 1).all()
        assert (quota.upper[tier] <= quota.caps[tier]).all()
        if tier:
            below = np.bincount(topology.parent[tier], quota.count[tier], topology.size(tier - 1))
            assert below.tolist() == quota.count[tier - 1].tolist()


def test_of_two_fair_roundings_the_one_in_place_wins() -> None:
    topology = topology_of(cluster(1, 1, 4))
    for extra in np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]):
        held = np.array([1, 1, 1, 1]) + extra
        assert quota_of(topology, 3, 2, held).count[DEVICE].tolist() == held.tolist()


def test_weights_of_any_size_end_in_whole_quotas() -> None:
    devices = [device(i, 1.25 ** (i % 90), zone=f"z{i % 7}", node=f"n{i % 70}") for i in range(900)]
    topology = topology_of(devices)
    quota = quota_of(topology, 3, 1 << 16, np.zeros(900, dtype=np.int64))
    assert quota.count[DEVICE].sum() == 3 << 16
    assert (np.abs(quota.count[DEVICE] - quota.fair[DEVICE]) < 1).all()


def test_overload_bounds_what_dispersion_may_ask_of_a_small_device() -> None:
    devices = [*cluster(2, 1, 4), device(8, 0.1, zone="z9", node="n9")]
    topology = topology_of(devices)
    held = np.zeros(9, dtype=np.int64)
    free = quota_of(topology, 3, 1000, held)
    bounded = quota_of(topology, 3, 1000, held, overload=0.5)
    small = int(np.flatnonzero(topology.ids == 8)[0])
    assert free.count[DEVICE][small] == 1000
    assert bounded.count[DEVICE][small] <= 1.5 * bounded.weighted[small] + 1
    assert bounded.count[DEVICE].sum() == 3000


def test_devices_without_weight_get_nothing() -> None:
    topology = topology_of([device(0), device(1, 0.0), device(2)])
    assert quota_of(topology, 2, 8, np.zeros(3, dtype=np.int64)).count[DEVICE].tolist() == [8, 0, 8]


def test_no_weight_at_all_is_an_error() -> None:
    with pytest.raises(NotEnoughDevices):
        tier_caps(topology_of([device(0, 0.0)]), 3)


def test_ranks_count_within_runs() -> None:
    assert rank_in_group(np.array([4, 4, 7, 9, 9, 9])).tolist() == [0, 1, 0, 0, 1, 2]
    assert rank_in_group(np.array([], dtype=np.int64)).tolist() == []
