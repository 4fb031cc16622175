"""A placement from nothing: quotas and bounds met exactly, everything else left to chance.

Systematic sampling (Madow 1949) down the tree: the slots of a tree node form a sequence in which any
window holds each partition as evenly as can be, each child takes a window, and its slots are put in
a new random order of the same kind. A window of q slots then holds each partition floor or ceiling
of q / partitions times, which is what the quota asks for. Few siblings would meet in few
combinations only, so that a lost zone would be rebuilt from some of the others: random swaps at the
end mix them.
"""

import numpy as np

from ring.board import Board
from ring.quota import Quota
from ring.topology import DEVICE, NODE, REGION, Topology
from ring.types import IntArray

MIX_ROUNDS = 12
"""Rounds of random swaps; each tries one replica of every partition."""


def scatter(
    topology: Topology,
    quota: Quota,
    replicas: int,
    partitions: int,
    rng: np.random.Generator,
) -> IntArray:
    """A table of leaves, replicas x partitions, that meets `quota` exactly."""
    everything = np.tile(rng.permutation(partitions), replicas)
    sequences = [everything]
    for tier in range(REGION, DEVICE):
        sequences = [
            _reordered(window, partitions, rng)
            for window in _windows(sequences, quota.count[tier], topology.parent[tier])
        ]
    leaves = np.repeat(np.arange(topology.leaf_count), quota.count[DEVICE])
    by_partition = np.argsort(np.concatenate(sequences), kind="stable")
    rows = leaves[by_partition].reshape(partitions, replicas)
    table = np.ascontiguousarray(rng.permuted(rows, axis=1).T)
    return _mixed(topology, quota, table, rng)


def _windows(sequences: list[IntArray], counts: IntArray, parent: IntArray) -> list[IntArray]:
    """Cut each parent's sequence into its children's windows, in tree order."""
    windows: list[IntArray] = []
    position = [0] * len(sequences)
    for count, above in zip(counts.tolist(), parent.tolist(), strict=True):
        start = position[above]
        windows.append(sequences[above][start : start + count])
        position[above] = start + count
    return windows


def _reordered(window: IntArray, partitions: int, rng: np.random.Generator) -> IntArray:
    """The same slots in a random order of which every window is even, too.

    A window holds each partition `whole` times and some once more; those go first in each round.
    """
    whole, extra = divmod(len(window), partitions)
    if not whole:
        return rng.permutation(window)
    more = rng.permutation(window[len(window) - extra :])
    often = np.zeros(partitions, dtype=np.bool_)
    often[more] = True
    others = rng.permutation(np.flatnonzero(~often))
    return np.concatenate([np.tile(np.concatenate([more, others]), whole), more])


def _mixed(topology: Topology, quota: Quota, table: IntArray, rng: np.random.Generator) -> IntArray:
    """Swap the devices of random pairs of replicas where both partitions stay within bounds."""
    replicas, partitions = table.shape
    if partitions < 2 or topology.size(NODE) == topology.leaf_count == 1:
        return table
    board = Board(topology, quota, table, np.zeros(partitions, dtype=np.bool_))
    half = partitions // 2
    for _ in range(MIX_ROUNDS):
        order = rng.permutation(partitions)
        p, q = order[:half], order[half : 2 * half]
        r, s = rng.integers(0, replicas, half), rng.integers(0, replicas, half)
        a, b = board.table[r, p], board.table[s, q]
        swap = board.fits(p, r, b) & board.fits(q, s, a)
        board.table[r[swap], p[swap]] = b[swap]
        board.table[s[swap], q[swap]] = a[swap]
    return board.table
