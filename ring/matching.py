"""The bulk of a rebalancing step: random batches of single moves, checked and made as arrays.

Three passes over a `Board`, in this order: fill what is vacant, heal what breaks the bounds of
dispersion, then move from leaves above their quota to leaves below it. Each ends when random
proposals hardly succeed any more; what is left is for the exhaustive search of `ring.chains`.
"""

from itertools import product

import numpy as np

from ring.board import VACANT, Board
from ring.quota import rank_in_group
from ring.topology import NODE, REGION, ZONE
from ring.types import BoolArray, IntArray

OVERSAMPLE = 4
"""Candidate slots drawn per move wanted of a leaf."""
STALE_ROUNDS = 3
"""A pass ends after so many rounds in a row without a success."""


def fill_vacant(board: Board, rng: np.random.Generator) -> None:
    """Give every vacant slot a leaf, within quota and bounds where that can be."""
    for r in range(len(board.table)):
        stale = 0
        while stale < STALE_ROUNDS:
            p = np.flatnonzero(board.table[r] == VACANT)
            done = _propose(board, rng, p, np.full(len(p), r), board.lacking(), healing=False)
            stale = 0 if done else stale + 1
        for partition in np.flatnonzero(board.table[r] == VACANT).tolist():
            _fill_one(board, partition, r)


def _fill_one(board: Board, partition: int, replica: int) -> None:
    """The best leaf for one slot: within bounds, else at least another device, else any."""
    leaves = np.flatnonzero(board.quota > 0)
    p = np.full(len(leaves), partition)
    r = np.full(len(leaves), replica)
    outside = ~board.fits(p, r, leaves)
    double = np.isin(leaves, board.table[:, partition])
    best = np.lexsort((board.surplus()[leaves], outside, double))[:1]
    board.break_bounds(p[best], r[best], leaves[best])


def heal(board: Board, rng: np.random.Generator) -> None:
    """Move a replica of each partition that breaks its bounds to where it doesn't.

    First from leaves above to leaves below their quota; only then from or to any others.
    """
    broken = board.broken()
    if not broken.any():
        return
    for any_target, any_source in product((False, True), repeat=2):
        stale = 0
        while stale < STALE_ROUNDS:
            done = _heal_round(board, rng, broken, any_source, any_target)
            stale = 0 if done else stale + 1
    for partition in np.flatnonzero(broken & (board.moved < 0)).tolist():
        _heal_one(board, rng, partition)


def _heal_round(
    board: Board,
    rng: np.random.Generator,
    broken: BoolArray,
    any_source: bool,
    any_target: bool,
) -> int:
    p = rng.permutation(np.flatnonzero(broken & (board.moved < 0)))
    if not len(p):
        return 0
    targets = _any_leaves(board, rng, len(p)) if any_target else board.lacking()
    done = 0
    for r in rng.permutation(len(board.table)).tolist():
        rest = p[board.moved[p] < 0]
        replica = np.full(len(rest), r)
        fine = board.movable(rest, replica)
        if not any_source:
            fine &= _within_surplus(board, board.table[r, rest])
        done += _propose(board, rng, rest[fine], replica[fine], targets, healing=True)
        if not any_target:
            targets = board.lacking()
    return done


def _any_leaves(board: Board, rng: np.random.Generator, count: int) -> IntArray:
    """Leaves drawn in proportion to their quota."""
    ends = np.cumsum(board.quota)
    return np.searchsorted(ends, rng.integers(0, ends[-1], count), side="right")


def _within_surplus(board: Board, leaves: IntArray) -> BoolArray:
    """The first entries of each leaf, as many as it holds above its quota."""
    order = np.argsort(leaves, kind="stable")
    rank = np.empty(len(leaves), dtype=np.int64)
    rank[order] = rank_in_group(leaves[order])
    within: BoolArray = rank < board.surplus()[leaves]
    return within


def _propose(
    board: Board,
    rng: np.random.Generator,
    p: IntArray,
    r: IntArray,
    targets: IntArray,
    *,
    healing: bool,
) -> int:
    """Pair slots of distinct partitions with targets at random; make what is legal, count it."""
    size = min(len(p), len(targets))
    if not size:
        return 0
    chosen = rng.permutation(len(p))[:size]
    p, r = p[chosen], r[chosen]
    new = rng.permutation(targets)[:size]
    fine = board.heals(p, r, new) if healing else board.fits(p, r, new)
    board.put(p[fine], r[fine], new[fine])
    return int(np.count_nonzero(fine))


def _heal_one(board: Board, rng: np.random.Generator, partition: int) -> None:
    """Try every replacement of one partition; take the one that suits the quotas best."""
    leaves = np.flatnonzero(board.quota > 0)
    replicas = np.arange(len(board.table))
    r = np.repeat(replicas, len(leaves))
    new = np.tile(leaves, len(replicas))
    p = np.full(len(r), partition)
    fine = np.flatnonzero(board.movable(p, r) & board.heals(p, r, new))
    if not len(fine):
        return
    surplus = board.surplus()
    gain = (surplus[board.table[r[fine], p[fine]]] > 0).astype(np.int64)
    gain += surplus[new[fine]] < 0
    best = fine[np.lexsort((rng.random(len(fine)), -gain))[:1]]
    board.put(p[best], r[best], new[best])


def settle(board: Board, rng: np.random.Generator) -> None:
    """Move from leaves above their quota to leaves below it, the nearest pairs first.

    Within a node, then a zone, then a region, then anywhere: a move within a tree node can't break
    the bounds of those above it, and stays on the shorter links.
    """
    for tier in (NODE, ZONE, REGION, None):
        group = np.zeros_like(board.quota) if tier is None else board.topology.member[tier]
        stale = 0
        while stale < STALE_ROUNDS:
            done, tried = _settle_round(board, rng, group)
            if not tried:
                break
            stale = 0 if done * 20 > tried else stale + 1


def _settle_round(board: Board, rng: np.random.Generator, group: IntArray) -> tuple[int, int]:
    """One batch of moves between leaves of one group; moves made and tried."""
    p, r = _sources(board, rng)
    new = rng.permutation(board.lacking())
    from_slot, to_new = _pair(group[board.table[r, p]], group[new])
    p, r, new = p[from_slot], r[from_slot], new[to_new]
    fine = board.fits(p, r, new)
    board.put(p[fine], r[fine], new[fine])
    return int(np.count_nonzero(fine)), len(p)


def _sources(board: Board, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Random movable slots of distinct partitions, of each leaf at most what it has too much."""
    over = np.maximum(board.surplus(), 0)
    leaves = board.table.ravel()
    slots = np.flatnonzero(np.append(over > 0, False)[leaves])
    odds = np.minimum(1.0, OVERSAMPLE * over / np.maximum(board.held, 1))
    slots = slots[rng.random(len(slots)) < odds[leaves[slots]]]
    slots = rng.permutation(slots)
    r, p = np.divmod(slots, board.partition_count)
    _, first = np.unique(p, return_index=True)
    r, p = r[first], p[first]
    mixed = rng.permutation(len(p))
    r, p = r[mixed], p[mixed]
    free = board.movable(p, r)
    r, p = r[free], p[free]
    within = _within_surplus(board, board.table[r, p])
    return p[within], r[within]


def _pair(left: IntArray, right: IntArray) -> tuple[IntArray, IntArray]:
    """Indices of left and right paired within equal groups, in order, as far as they go."""
    left_order = np.argsort(left, kind="stable")
    right_order = np.argsort(right, kind="stable")
    width = max(len(left), len(right)) + 1
    left_key = left[left_order] * width + rank_in_group(left[left_order])
    right_key = right[right_order] * width + rank_in_group(right[right_order])
    _, i, j = np.intersect1d(left_key, right_key, assume_unique=True, return_indices=True)
    return left_order[i], right_order[j]
