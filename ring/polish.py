"""The cheapest end of a rebalancing step, for rings small enough to look at every replica.

A minimum-cost flow on the leaves: shifting one partition-replica from leaf to leaf costs 1 for a
partition that has not moved in this step, 0 where a move is only redirected or made by another
replica instead, and -1 where it is undone; less one for each move that it saves later because the
partition is nearer to its bounds. Negative cycles are cancelled, then leaves above their quota are
relieved along cheapest paths (Klein 1967; Busacker and Gowen 1960), as many replicas at once as the
links of a cycle or path bear. The result would be the least number of moves, were it not that a step
moves only one replica of a partition. Larger rings have more room for chance, so that `ring.matching`
alone comes within a few in a thousand of it.
"""

import numpy as np

from ring.board import VACANT, Board
from ring.shifts import LINK_NEVER, ShiftCosts
from ring.types import IntArray

CELLS_MAX = 1 << 26
"""Partition-replicas x devices up to which a step is polished: a few seconds."""
PUSHES_MAX = 2000
"""Paths and cycles of one step. Few steps need a tenth of them."""


def polish(board: Board, rng: np.random.Generator) -> None:
    """Take moves back and settle what is left where that costs least; nothing in large rings."""
    if board.table.size * len(board.quota) > CELLS_MAX or (board.table == VACANT).any():
        return
    costs = ShiftCosts(board, rng)
    for _ in range(PUSHES_MAX):
        cost, count = costs.links()
        route = negative_cycle(cost)
        surplus = board.surplus()
        most = len(board.moved)
        if not route:
            route = cheapest_path(cost, surplus)
            if not route:
                return
            most = min(int(surplus[route[0][0]]), int(-surplus[route[-1][1]]))
        most = min(most, *(int(count[link]) for link in route))
        costs.push(route, [int(cost[link]) for link in route], most)


def negative_cycle(cost: IntArray) -> list[tuple[int, int]]:
    """The links of a cycle of negative cost, or none (Bellman and Ford).

    cost: leaf x leaf. A cycle among the predecessors shows as soon as it forms.
    """
    leaf_count = len(cost)
    distance = np.zeros(leaf_count, dtype=np.int64)
    before = np.full(leaf_count + 1, leaf_count, dtype=np.int64)
    while True:
        distance, better = _relax(cost, distance, before)
        if not better:
            return []
        far = before
        for _ in range(leaf_count.bit_length()):
            far = far[far]
        on_cycle = far[far < leaf_count]
        if len(on_cycle):
            return _walk_back(before, int(on_cycle[0]))


def cheapest_path(cost: IntArray, surplus: IntArray) -> list[tuple[int, int]]:
    """The links from some leaf above its quota to some leaf below it, or none.

    There must be no negative cycle.
    """
    leaf_count = len(cost)
    lacking = np.flatnonzero(surplus < 0)
    distance = np.where(surplus > 0, 0, LINK_NEVER)
    before = np.full(leaf_count + 1, leaf_count, dtype=np.int64)
    better = bool(len(lacking))
    while better:
        distance, better = _relax(cost, distance, before)
    if not len(lacking) or distance[lacking].min() > LINK_NEVER // 2:
        return []
    return _walk_back(before, int(lacking[distance[lacking].argmin()]))


def _relax(cost: IntArray, distance: IntArray, before: IntArray) -> tuple[IntArray, bool]:
    """One round over all links; sets predecessors, returns distances and whether any fell."""
    reach = distance[:, None] + cost
    nearest = reach.argmin(axis=0)
    best = reach[nearest, np.arange(len(cost))]
    better = best < distance
    before[:-1][better] = nearest[better]
    return np.where(better, best, distance), bool(better.any())


def _walk_back(before: IntArray, end: int) -> list[tuple[int, int]]:
    """The links that lead to `end`, first to last, back to where none leads or to `end` again."""
    none = len(before) - 1
    links: list[tuple[int, int]] = []
    leaf = end
    while before[leaf] != none:
        links.append((int(before[leaf]), leaf))
        leaf = int(before[leaf])
        if leaf == end:
            break
    return links[::-1]
