"""Moves against the optimum, on rings so small that a naive minimum-cost flow finds it.

The naive optimum may move any number of replicas of a partition at once, which a step may not, so
that it can be below what any sequence of steps reaches; it is never above.
"""

import dataclasses
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring.board import Board
from ring.quota import Quota, quota_of
from ring.rebalance import lower_bound, rebalance
from ring.scatter import scatter
from ring.topology import TIERS, Topology, topology_of
from ring.types import Device, IntArray
from tests.unit.ring.clusters import cluster, device

STEPS_MAX = 12
FAR = 1 << 30


class Flow:
    """A minimum-cost flow with lower bounds as rewards; successive shortest paths, no cleverness."""

    def __init__(self) -> None:
        self.heads: list[int] = []
        self.room: list[int] = []
        self.cost: list[int] = []
        self.edges: dict[int, list[int]] = {}

    def edge(self, tail: int, head: int, room: int, cost: int) -> None:
        """An edge and its way back."""
        for start, end, free, price in ((tail, head, room, cost), (head, tail, 0, -cost)):
            self.edges.setdefault(start, []).append(len(self.heads))
            self.heads.append(end)
            self.room.append(free)
            self.cost.append(price)

    def run(self, source: int, sink: int) -> tuple[int, int]:
        """The greatest flow and its least cost."""
        flow = total = 0
        while True:
            distance, by = self._distances(source)
            if sink not in distance:
                return flow, total
            at = sink
            while at != source:
                edge = by[at]
                self.room[edge] -= 1
                self.room[edge ^ 1] += 1
                at = self.heads[edge ^ 1]
            flow, total = flow + 1, total + distance[sink]

    def _distances(self, source: int) -> tuple[dict[int, int], dict[int, int]]:
        distance, by = {source: 0}, dict[int, int]()
        queue = deque([source])
        while queue:
            at = queue.popleft()
            for edge in self.edges.get(at, []):
                there = distance[at] + self.cost[edge]
                if self.room[edge] and there < distance.get(self.heads[edge], FAR):
                    distance[self.heads[edge]], by[self.heads[edge]] = there, edge
                    queue.append(self.heads[edge])
        return distance, by


MUST = 1000
"""Reward for a unit that a lower bound asks for: above any number of moves."""


def naive_optimum(topology: Topology, quota: Quota, table: IntArray) -> int:
    """The least replicas that differ between `table` and any table that meets the quota."""
    flow, ids = Flow(), dict[object, int]()

    def node(*key: object) -> int:
        return ids.setdefault(key, len(ids))

    replicas, partitions = table.shape
    musts = 0
    for p in range(partitions):
        flow.edge(node("source"), node("tree", p, -1, 0), replicas, 0)
        for tier in TIERS:
            for z in range(topology.size(tier)):
                above = node("tree", p, tier - 1, int(topology.parent[tier][z]))
                low, high = int(quota.lower[tier][z]), int(quota.upper[tier][z])
                here = int((table[:, p] == z).sum()) if tier == 3 else 0
                musts += low
                below = node("tree", p, tier, z)
                _edges(flow, above, below, low, high, here)
        for leaf in range(topology.leaf_count):
            flow.edge(node("tree", p, 3, leaf), node("leaf", leaf), replicas, 0)
    for leaf, count in enumerate(quota.count[3].tolist()):
        flow.edge(node("leaf", leaf), node("sink"), count, 0)
    moved, cost = flow.run(node("source"), node("sink"))
    assert moved == replicas * partitions
    kept = -(cost + musts * MUST)
    return moved - kept


def _edges(flow: Flow, above: int, below: int, low: int, high: int, here: int) -> None:
    """Unit edges from a tree node to a child: rewarded up to the lower bound and for what is there."""
    for unit in range(high):
        flow.edge(above, below, 1, -MUST * (unit < low) - (unit < here))


PLACES = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from("xy"),
    st.sampled_from("12"),
    st.sampled_from([1.0, 1.0, 2.0, 5.0]),
)


def world(places: list[tuple[str, str, str, float]], gone: int, new: int) -> list[list[Device]]:
    """The devices before and after a change: the last `new` come, the first `gone` go."""
    devices = [device(i, w, region=r, zone=z, node=n) for i, (r, z, n, w) in enumerate(places)]
    none = [device(d.id, 0.0, region=d.region, zone=d.zone, node=d.node) for d in devices]
    split = len(devices) - new
    return [devices[:split] + none[split:], none[:gone] + devices[gone:]]


@given(
    st.lists(PLACES, min_size=4, max_size=6),
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_moves_are_between_the_lower_bound_and_a_little_above_the_optimum(
    places: list[tuple[str, str, str, float]],
    gone: int,
    new: int,
    replicas: int,
    part_power: int,
    seed: int,
) -> None:
    before, after = (topology_of(devices) for devices in world(places, gone, new))
    partitions, rng = 1 << part_power, np.random.default_rng(seed)
    nothing = np.zeros(before.leaf_count, dtype=np.int64)
    table = scatter(before, quota_of(before, replicas, partitions, nothing), replicas, partitions, rng)
    held = np.bincount(table.ravel(), minlength=before.leaf_count)
    quota = quota_of(after, replicas, partitions, held)
    moves, steps = _settle(after, quota, table, rng)
    optimum = naive_optimum(after, quota, table)
    assert lower_bound(after, quota, table) <= optimum <= moves
    if steps == 1:
        assert moves == optimum
    else:
        assert moves <= 1.25 * optimum + 2


def _settle(
    topology: Topology, quota: Quota, table: IntArray, rng: np.random.Generator
) -> tuple[int, int]:
    frozen = np.zeros(table.shape[1], dtype=np.bool_)
    moves = steps = 0
    while True:
        board = Board(topology, quota, table, frozen)
        if not board.surplus().any() and not board.broken().any():
            return moves, steps
        assert steps < STEPS_MAX
        stepped = rebalance(topology, quota, table, frozen, rng)
        moves, steps = moves + int((stepped != table).sum()), steps + 1
        table = stepped


@pytest.mark.parametrize("seed", [1, 2, 5, 8])
def test_a_device_less_in_a_tight_ring_costs_exactly_the_optimum(seed: int) -> None:
    """Four replicas in three zones: single moves alone end up to a tenth above it."""
    devices = cluster(3, 3, 2, (1, 2, 4, 8, 20))
    left = [dataclasses.replace(d, weight=0.0) if d.id == 4 else d for d in devices]
    before, after = topology_of(devices), topology_of(left)
    nothing = np.zeros(len(devices), dtype=np.int64)
    rng = np.random.default_rng(seed)
    table = scatter(before, quota_of(before, 4, 32, nothing), 4, 32, rng)
    held = np.bincount(table.ravel(), minlength=len(devices))
    quota = quota_of(after, 4, 32, held)
    moves, steps = _settle(after, quota, table, np.random.default_rng(0))
    assert (moves, steps) == (naive_optimum(after, quota, table), 1)


@given(
    st.lists(PLACES, min_size=4, max_size=8),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, 4),
    st.integers(2, 6),
    st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_rings_too_large_to_polish_settle_all_the_same(
    places: list[tuple[str, str, str, float]],
    gone: int,
    new: int,
    replicas: int,
    part_power: int,
    seed: int,
) -> None:
    """The way of large rings, at a size where chance has the least room."""
    before, after = (topology_of(devices) for devices in world(places, gone, new))
    partitions, rng = 1 << part_power, np.random.default_rng(seed)
    nothing = np.zeros(before.leaf_count, dtype=np.int64)
    quota = quota_of(before, replicas, partitions, nothing)
    table = scatter(before, quota, replicas, partitions, rng)
    quota = quota_of(after, replicas, partitions, np.bincount(table.ravel(), minlength=len(places)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ring.polish.CELLS_MAX", 0)
        moves, _ = _settle(after, quota, table, rng)
    least = lower_bound(after, quota, table)
    assert least <= moves <= 2 * least + 4
