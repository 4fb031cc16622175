"""One step: what it repairs, what it leaves alone, and the bound on its moves."""

from itertools import product

import numpy as np
import pytest

from ring.board import VACANT, Board
from ring.chains import settle_chains
from ring.matching import fill_vacant, heal
from ring.quota import Quota, quota_of
from ring.rebalance import excess, lower_bound, rebalance
from ring.scatter import scatter
from ring.topology import DEVICE, ZONE, Topology, topology_of
from ring.types import Device, IntArray
from tests.unit.ring.clusters import cluster, device

PARTITIONS = 64


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def free() -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.zeros(PARTITIONS, dtype=np.bool_)


def settled(devices: list[Device], replicas: int) -> tuple[Topology, Quota, IntArray]:
    topology = topology_of(devices)
    quota = quota_of(topology, replicas, PARTITIONS, np.zeros(len(devices), dtype=np.int64))
    return topology, quota, scatter(topology, quota, replicas, PARTITIONS, rng())


def test_a_settled_table_stays_as_it_is() -> None:
    topology, quota, table = settled(cluster(3, 2, 2, (1, 2, 3)), 3)
    assert lower_bound(topology, quota, table) == 0
    assert (rebalance(topology, quota, table, free(), rng()) == table).all()


def test_the_given_table_is_not_changed() -> None:
    topology, quota, table = settled(cluster(3, 2, 2), 3)
    spoiled = np.where(table == 0, 1, table)
    before = spoiled.copy()
    after = rebalance(topology, quota, spoiled, free(), rng())
    assert (spoiled == before).all()
    assert (after != spoiled).any()


def crowded() -> tuple[Topology, Quota, IntArray]:
    """A table whose quotas are met, but two partitions have two replicas in one zone."""
    topology, quota, table = settled(cluster(4, 1, 2), 3)
    zone = topology.member[ZONE]
    for p in range(1, PARTITIONS):
        for r, s in product(range(3), repeat=2):
            swapped = table.copy()
            swapped[r, 0], swapped[s, p] = table[s, p], table[r, 0]
            if all(len(set(zone[swapped[:, i]].tolist())) == 2 for i in (0, p)):
                return topology, quota, swapped
    raise AssertionError("no such swap")


def test_dispersion_is_healed_though_all_quotas_are_met() -> None:
    topology, quota, table = crowded()
    board = Board(topology, quota, table, free())
    assert not board.surplus().any()
    assert board.broken().sum() == 2
    heal(board, rng())
    assert not board.broken().any()
    settle_chains(board, rng())
    assert not board.broken().any()
    assert not board.surplus().any()
    assert (board.table != table).sum() <= 4


def test_vacant_slots_are_filled_and_nothing_else_moves() -> None:
    topology, quota, table = settled(cluster(3, 2, 2), 3)
    holes = table.copy()
    holes[1:, ::3] = VACANT
    after = rebalance(topology, quota, holes, free(), rng())
    assert (after != VACANT).all()
    untouched = holes != VACANT
    moved = (after != holes) & untouched
    assert moved.sum() <= 2
    board = Board(topology, quota, after, free())
    assert not board.broken().any()


def test_vacant_slots_are_filled_though_every_place_is_taken() -> None:
    topology = topology_of(cluster(1, 1, 2))
    quota = quota_of(topology, 3, PARTITIONS, np.zeros(2, dtype=np.int64))
    board = Board(topology, quota, np.full((3, PARTITIONS), VACANT), free())
    fill_vacant(board, rng())
    assert sorted(np.bincount(board.table.ravel()).tolist()) == [96, 96]
    assert not board.broken().any()


def test_a_frozen_partition_moves_only_off_a_lost_device() -> None:
    devices = cluster(1, 1, 6)
    _, _, table = settled(devices, 3)
    gone = [device(0, 0.0, zone="z0", node="n0-0"), *devices[1:]]
    drained = topology_of(gone)
    held = np.bincount(table.ravel(), minlength=6)
    quota = quota_of(drained, 3, PARTITIONS, held)
    frozen = np.ones(PARTITIONS, dtype=np.bool_)
    assert (rebalance(drained, quota, table, frozen, rng()) == table).all()
    lost = Topology(
        drained.ids, drained.weight, drained.ids == 0, drained.member, drained.parent, drained.labels
    )
    after = rebalance(lost, quota, table, frozen, rng())
    assert not (after == 0).any()
    assert (after == table)[table != 0].all()


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_the_lower_bound_is_what_a_new_device_must_be_given(replicas: int) -> None:
    devices = cluster(1, 1, 5)
    _, _, table = settled(devices, replicas)
    topology = topology_of([*devices, device(5, node="n0-0", zone="z0")])
    held = np.bincount(table.ravel(), minlength=6)
    quota = quota_of(topology, replicas, PARTITIONS, held)
    assert lower_bound(topology, quota, table) == replicas * PARTITIONS // 6
    after = rebalance(topology, quota, table, free(), rng())
    assert (after != table).sum() == quota.count[DEVICE][5]


def test_excess_counts_replicas_beyond_the_bound() -> None:
    topology = topology_of(cluster(2, 1, 2))
    table = np.array([[0, 0, 2], [1, 2, 3], [2, 3, VACANT]])
    upper = np.array([1, 1])
    assert excess(topology, ZONE, upper, table).tolist() == [1, 1, 1]
    assert excess(topology, ZONE, upper + 1, table).tolist() == [0, 0, 0]


@pytest.mark.parametrize("cells_max", [0, 1 << 20], ids=["large", "small"])
def test_a_step_goes_round_when_no_single_move_is_legal(
    cells_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaf 0 must shed to leaf 3, but shares every partition with it; leaf 1 or 2 must pass on."""
    monkeypatch.setattr("ring.polish.CELLS_MAX", cells_max)
    topology = topology_of(cluster(1, 1, 4))
    quota = quota_of(topology, 2, PARTITIONS, np.array([32, 32, 32, 32]))
    half = PARTITIONS // 2
    table = np.empty((2, PARTITIONS), dtype=np.int64)
    table[:, :half] = [[0], [3]]
    table[:, half:] = [[1], [2]]
    table[:, 0] = [0, 1]
    table[:, half] = [0, 2]
    board = Board(topology, quota, table, free())
    assert board.surplus().tolist() == [1, 0, 0, -1]
    frozen = (table == 0).any(axis=0) & ~(table == 3).any(axis=0)
    after = rebalance(topology, quota, table, frozen, rng())
    assert not Board(topology, quota, after, free()).surplus().any()
    assert (after != table).sum() == 2


@pytest.mark.parametrize("cells_max", [0, 1 << 20], ids=["large", "small"])
def test_a_step_heals_dispersion_though_all_quotas_are_met(
    cells_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ring.polish.CELLS_MAX", cells_max)
    topology, quota, table = crowded()
    after = rebalance(topology, quota, table, free(), rng())
    board = Board(topology, quota, after, free())
    assert not board.broken().any()
    assert not board.surplus().any()


def test_a_zone_that_is_too_full_already_still_gets_no_device_twice() -> None:
    """Where a tier's bound is broken, the tiers below must be looked at, too."""
    topology, quota, table = settled(cluster(3, 2, 1), 3)
    zone = topology.member[ZONE]
    inside = np.flatnonzero(zone == 0)
    table[:, 0] = [inside[0], inside[1], int(np.flatnonzero(zone == 1)[0])]
    board = Board(topology, quota, table, free())
    assert not board.fits(np.array([0]), np.array([0]), inside[1:2])[0]
