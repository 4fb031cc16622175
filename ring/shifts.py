"""What it costs to shift each replica of a board to each leaf, kept up to date as shifts are made.

The graph that `ring.polish` searches: dense, one byte per replica and leaf, so for small rings only.
A slot is replica r of partition p, numbered r * partitions + p.
"""

import numpy as np
import numpy.typing as npt

from ring.board import VACANT, Board
from ring.types import IntArray

NEVER = 100
"""Cost of a shift that is not legal."""
COST_MIN = -4
"""Costs are cut off here: a partition that gains more than four moves at once is rare enough."""
COST_MAX = 1
COST_COUNT = COST_MAX - COST_MIN + 1
LINK_NEVER = 1 << 30
"""Cost between leaves that no shift connects; more than any path."""
BATCH_CELLS = 1 << 20
"""Slots x leaves that are computed at once."""

CostArray = npt.NDArray[np.int8]


class ShiftCosts:
    """Costs per slot and leaf, and how many slots there are per pair of leaves and cost."""

    def __init__(self, board: Board, rng: np.random.Generator) -> None:
        self._board = board
        self._rng = rng
        self._broken = bool(board.broken().any())
        self._barred = np.zeros(board.partition_count, dtype=np.bool_)
        replicas, partitions = board.table.shape
        leaf_count = len(board.quota)
        self._cost: CostArray = np.full((replicas * partitions, leaf_count), NEVER, np.int8)
        self._count = np.zeros(leaf_count * leaf_count * COST_COUNT, dtype=np.int64)
        size = max(1, BATCH_CELLS // (replicas * leaf_count))
        for start in range(0, partitions, size):
            self._update(np.arange(start, min(start + size, partitions)))

    def links(self) -> tuple[IntArray, IntArray]:
        """leaf x leaf: the least cost of a shift, and how many slots have it."""
        leaf_count = len(self._board.quota)
        count = self._count.reshape(leaf_count, leaf_count, COST_COUNT)
        cheapest = (count > 0).argmax(axis=2)
        found = np.take_along_axis(count, cheapest[:, :, None], axis=2)[:, :, 0]
        return np.where(found > 0, cheapest + COST_MIN, LINK_NEVER), found

    def push(self, route: list[tuple[int, int]], costs: list[int], most: int) -> None:
        """Shift up to `most` replicas along each link of a route, each of another partition.

        Where one link takes all partitions that another needs, fewer are shifted; where even single
        ones get in each other's way, they are left alone from now on.
        """
        used = np.zeros(self._board.partition_count, dtype=np.bool_)
        chosen: list[IntArray] = []
        for (source, target), cost in zip(route, costs, strict=True):
            slots = self._slots(source, target, cost)
            p = slots % self._board.partition_count
            free = ~used[p]
            if not free.any() and most > 1:
                self.push(route, costs, most // 2)
                return
            if not free.any():
                self._barred[p] = True
                self._update(np.unique(p))
                return
            most = min(most, int(np.count_nonzero(free)))
            picked = self._distinct(slots[free])[:most]
            used[picked % self._board.partition_count] = True
            chosen.append(picked)
        self._make(chosen, route, min(map(len, chosen)))

    def _distinct(self, slots: IntArray) -> IntArray:
        """One slot per partition, in random order."""
        mixed = self._rng.permutation(slots)
        _, first = np.unique(mixed % self._board.partition_count, return_index=True)
        return mixed[np.sort(first)]

    def _slots(self, source: int, target: int, cost: int) -> IntArray:
        """The slots on `source` that may go to `target` at this cost."""
        slots = np.flatnonzero(self._board.table.ravel() == source)
        fitting: IntArray = slots[self._cost[slots, target] == cost]
        return fitting

    def _make(self, chosen: list[IntArray], route: list[tuple[int, int]], size: int) -> None:
        board = self._board
        slots = np.concatenate([slots[:size] for slots in chosen])
        target = np.repeat(np.array([end for _, end in route]), size)
        r, p = np.divmod(slots, board.partition_count)
        self._forget(p)
        instead = (board.moved[p] >= 0) & (board.moved[p] != r)
        board.put_instead(p[instead], r[instead])
        board.put(p[~instead], r[~instead], target[~instead])
        self._update(p)

    def _update(self, partitions: IntArray) -> None:
        """Compute the costs of partitions anew."""
        self._forget(partitions)
        p, r, slots = self._slots_of(partitions)
        self._cost[slots] = self._costs_of(p, r)
        self._tally(slots, 1)

    def _forget(self, partitions: IntArray) -> None:
        """Take partitions out of the counts and costs; before their table changes."""
        _, _, slots = self._slots_of(partitions)
        self._tally(slots, -1)
        self._cost[slots] = NEVER

    def _slots_of(self, partitions: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        replicas = len(self._board.table)
        p = np.tile(partitions, replicas)
        r = np.repeat(np.arange(replicas), len(partitions))
        return p, r, r * self._board.partition_count + p

    def _tally(self, slots: IntArray, sign: int) -> None:
        cost = self._cost[slots]
        row, target = np.nonzero(cost < NEVER)
        source = self._board.table.ravel()[slots[row]]
        leaf_count = len(self._board.quota)
        cell = (source * leaf_count + target) * COST_COUNT - COST_MIN + cost[row, target]
        self._count += sign * np.bincount(cell, minlength=len(self._count))

    def _costs_of(self, p: IntArray, r: IntArray) -> CostArray:
        """slots x leaves."""
        board = self._board
        leaves = np.arange(len(board.quota))
        rows = np.arange(len(p))
        moved = board.moved[p]
        home = board.home[moved, p]
        redirected = moved == r
        cost = np.full((len(p), len(leaves)), NEVER, dtype=np.int8)
        cost[board.movable(p, r)] = 1
        cost[redirected] = 0
        undone = redirected & (home != VACANT)
        cost[rows[undone], home[undone]] = -1
        instead = (moved >= 0) & ~redirected & (home != VACANT) & ~board.frozen[p]
        cost[rows[instead], home[instead]] = 0
        cost[self._barred[p]] = NEVER
        cost[~board.fits_where(p, r)] = NEVER
        if self._broken:
            self._credit(cost, p, r)
        return cost

    def _credit(self, cost: CostArray, p: IntArray, r: IntArray) -> None:
        """Take off what a shift saves later."""
        bad = np.flatnonzero(self._board.amiss(p))
        row, column = np.nonzero(cost[bad] < NEVER)
        row = bad[row]
        saved = self._board.amends(p[row], r[row], column)
        cost[row, column] = np.maximum(cost[row, column] - saved, COST_MIN)
