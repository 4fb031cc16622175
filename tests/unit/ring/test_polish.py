"""Cycles, paths and shift costs of the small rings' flow."""

import numpy as np
import pytest

from ring.board import VACANT, Board
from ring.polish import cheapest_path, negative_cycle, polish
from ring.quota import quota_of
from ring.shifts import LINK_NEVER, NEVER, ShiftCosts
from ring.topology import topology_of
from ring.types import IntArray
from tests.unit.ring.clusters import cluster

PARTITIONS = 16


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def links(size: int, costs: dict[tuple[int, int], int]) -> IntArray:
    cost = np.full((size, size), LINK_NEVER, dtype=np.int64)
    for link, price in costs.items():
        cost[link] = price
    return cost


def board(table: IntArray, devices: int = 4) -> Board:
    topology = topology_of(cluster(1, 1, devices))
    quota = quota_of(topology, len(table), table.shape[1], np.zeros(devices, dtype=np.int64))
    return Board(topology, quota, table, np.zeros(table.shape[1], dtype=np.bool_))


def even() -> IntArray:
    """Two replicas on four leaves, eight on each."""
    return np.array([[0] * 8 + [1] * 8, [2] * 8 + [3] * 8])


def test_a_cycle_below_zero_is_found_and_others_are_not() -> None:
    cost = links(4, {(0, 1): 1, (1, 2): -1, (2, 0): 0, (2, 3): 1, (3, 1): 0})
    assert negative_cycle(cost) == []
    cost[2, 0] = -1
    cycle = negative_cycle(cost)
    assert sorted(cycle) == [(0, 1), (1, 2), (2, 0)]
    assert all(end == cycle[(i + 1) % 3][0] for i, (_, end) in enumerate(cycle))


def test_the_cheapest_path_goes_from_any_surplus_to_any_lack() -> None:
    cost = links(5, {(0, 3): 1, (1, 2): 1, (2, 3): -1, (1, 4): 1})
    surplus = np.array([1, 1, 0, -1, -1])
    assert cheapest_path(cost, surplus) == [(1, 2), (2, 3)]
    assert cheapest_path(links(5, {(0, 1): 1}), surplus) == []
    assert cheapest_path(cost, np.zeros(5, dtype=np.int64)) == []


def test_an_unmoved_replica_costs_one_and_a_partition_never_has_a_leaf_twice() -> None:
    cost, count = ShiftCosts(board(even()), rng()).links()
    assert cost.tolist() == [
        [LINK_NEVER, 1, LINK_NEVER, 1],
        [1, LINK_NEVER, 1, LINK_NEVER],
        [LINK_NEVER, 1, LINK_NEVER, 1],
        [1, LINK_NEVER, 1, LINK_NEVER],
    ]
    assert set(count[cost < NEVER].tolist()) == {8}


def test_a_moved_replica_is_undone_redirected_or_replaced_for_less() -> None:
    moved = board(even())
    moved.put(np.array([0]), np.array([0]), np.array([1]))
    cost, count = ShiftCosts(moved, rng()).links()
    assert (cost[1, 0], count[1, 0]) == (-1, 1)
    assert (cost[1, 3], count[1, 3]) == (0, 1)
    assert (cost[2, 0], count[2, 0]) == (0, 1)


def test_a_filled_vacancy_is_never_undone() -> None:
    table = even()
    table[0, 0] = VACANT
    filled = board(table)
    filled.put(np.array([0]), np.array([0]), np.array([1]))
    cost, _ = ShiftCosts(filled, rng()).links()
    assert cost.min() == 0


def test_a_move_that_saves_a_later_one_costs_nothing() -> None:
    """One partition has two replicas in zone 0 and none in zone 2."""
    topology = topology_of(cluster(3, 1, 2))
    quota = quota_of(topology, 3, PARTITIONS, np.zeros(6, dtype=np.int64))
    table = np.repeat([[0], [2], [4]], PARTITIONS, axis=1)
    table[:, 0] = [0, 2, 1]
    one = Board(topology, quota, table, np.zeros(PARTITIONS, dtype=np.bool_))
    cost, count = ShiftCosts(one, rng()).links()
    assert (cost[0, 4], count[0, 4]) == (0, 1)
    assert (cost[1, 5], count[1, 5]) == (0, 1)
    assert (cost[2, 3], count[2, 3]) == (1, PARTITIONS)
    assert cost[2, 4] == LINK_NEVER


def test_needless_moves_are_taken_back() -> None:
    wasted = board(even())
    wasted.put(np.array([0, 8]), np.array([0, 0]), np.array([1, 0]))
    polish(wasted, rng())
    assert (wasted.table == even()).all()
    assert (wasted.moved == -1).all()


def test_the_counts_stay_what_the_costs_say() -> None:
    """After pushes, the incremental tallies equal those of a fresh start."""
    table = even()
    table[0, :3] = 3
    one = board(table)
    costs = ShiftCosts(one, rng())
    pushes = 0
    while True:
        cost, _ = costs.links()
        route = negative_cycle(cost) or cheapest_path(cost, one.surplus())
        if not route:
            break
        costs.push(route, [int(cost[link]) for link in route], 1)
        pushes += 1
        fresh = ShiftCosts(one, rng())
        assert (costs.links()[0] == fresh.links()[0]).all()
        assert (costs.links()[1] == fresh.links()[1]).all()
        assert one.held.tolist() == np.bincount(one.table.ravel(), minlength=4).tolist()
    assert pushes == 3
    assert not one.surplus().any()


@pytest.mark.parametrize("seed", range(8))
def test_links_that_need_the_same_partitions_share_them(seed: int) -> None:
    one = board(np.array([[0, 1], [2, 2]]))
    costs = ShiftCosts(one, np.random.default_rng(seed))
    costs.push([(2, 3), (2, 3)], [1, 1], 2)
    assert one.table.tolist() == [[0, 1], [3, 3]]


def test_links_that_need_one_partition_twice_are_given_up() -> None:
    one = board(np.array([[0, 0], [2, 2]]))
    one.frozen[1] = True
    costs = ShiftCosts(one, rng())
    assert costs.links()[0][2, 3] == costs.links()[0][0, 1] == 1
    costs.push([(2, 3), (0, 1)], [1, 1], 1)
    assert one.table.tolist() == [[0, 0], [2, 2]]
    assert (costs.links()[0] == LINK_NEVER).all()


def test_putting_a_move_on_another_replica_keeps_the_books() -> None:
    one = board(even())
    p, r = np.array([0]), np.array([0])
    one.put(p, r, np.array([1]))
    one.put_instead(p, np.array([1]))
    assert one.table[:, 0].tolist() == [0, 1]
    assert one.moved[0] == 1
    assert one.held.tolist() == np.bincount(one.table.ravel(), minlength=4).tolist()


def test_a_ring_that_is_too_large_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    wasted = board(even())
    wasted.put(np.array([0, 8]), np.array([0, 0]), np.array([1, 0]))
    before = wasted.table.copy()
    monkeypatch.setattr("ring.polish.CELLS_MAX", before.size * 4 - 1)
    polish(wasted, rng())
    assert (wasted.table == before).all()


def test_fits_for_every_leaf_at_once_is_fits_one_by_one() -> None:
    topology = topology_of(cluster(3, 2, 2, (1, 2, 3)))
    quota = quota_of(topology, 4, PARTITIONS, np.zeros(12, dtype=np.int64))
    table = rng().integers(0, 12, (4, PARTITIONS))
    one = Board(topology, quota, table, np.zeros(PARTITIONS, dtype=np.bool_))
    p, r = np.divmod(np.arange(4 * PARTITIONS), 4)
    where = one.fits_where(p, r)
    for leaf in range(12):
        assert (where[:, leaf] == one.fits(p, r, np.full(len(p), leaf))).all()
