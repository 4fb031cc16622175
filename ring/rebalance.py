"""One rebalancing step of one placement: the passes of `ring.matching`, `ring.polish` and
`ring.chains` in order, and the lower bound on moves that they are measured by.

Pure but for the random generator it is given: tables in, table out.
"""

import numpy as np

from ring.board import VACANT, Board
from ring.chains import settle_chains
from ring.matching import fill_vacant, heal, settle
from ring.polish import polish
from ring.quota import Quota
from ring.topology import DEVICE, TIERS, Topology
from ring.types import BoolArray, FloatArray, IntArray


def rebalance(
    topology: Topology,
    quota: Quota,
    table: IntArray,
    frozen: BoolArray,
    rng: np.random.Generator,
) -> IntArray:
    """The table after one step towards `quota`: at most one replica per partition replaced.

    table: leaves, replicas x partitions, VACANT where a replica has no leaf yet (all those are
    filled). frozen: partitions that stay as they are, but for replicas on lost leaves.
    """
    board = Board(topology, quota, table, frozen)
    fill_vacant(board, rng)
    heal(board, rng)
    settle(board, rng)
    if _improvable(board, lower_bound(topology, quota, table)):
        polish(board, rng)
        settle_chains(board, rng)
    return board.table


def _improvable(board: Board, least: int) -> bool:
    """Whether something is left to settle, or more has moved than had to."""
    moves = int(np.count_nonzero(board.table != board.home))
    return bool(board.surplus().any()) or moves > least or bool(board.broken().any())


def lower_bound(topology: Topology, quota: Quota, table: IntArray) -> int:
    """Moves that no plan can do without, whatever way it rounds the fair shares.

    The largest of: what must flow into tree nodes that hold less than the floor of their share, what
    must flow out of those above the ceiling, and what each partition must move to keep its bounds.
    """
    held = np.bincount(table[table >= 0], minlength=topology.leaf_count)
    vacant = int(np.count_nonzero(table == VACANT))
    inward = _flow(topology, held, [np.floor(f) for f in quota.fair], 1)
    outward = _flow(topology, held, [np.ceil(f) for f in quota.fair], -1)
    return max(inward, outward + vacant, _forced(topology, quota, table))


def _flow(topology: Topology, held: IntArray, bound: list[FloatArray], sign: int) -> int:
    """What must cross into (or out of) the tree's nodes: the larger of a node's and its children's."""
    need = np.zeros(0)
    for tier in reversed(TIERS):
        holds = np.bincount(topology.member[tier], held, topology.size(tier))
        own = np.maximum(sign * (bound[tier] - holds), 0)
        if tier != DEVICE:
            own = np.maximum(own, np.bincount(topology.parent[tier + 1], need, topology.size(tier)))
        need = own
    return round(float(need.sum()))


def _forced(topology: Topology, quota: Quota, table: IntArray) -> int:
    """Sum over partitions of the replicas that must go or come to keep the bounds of some tier."""
    partitions = table.shape[1]
    most = np.zeros(partitions, dtype=np.int64)
    for tier in TIERS:
        share = quota.fair[tier] / partitions
        above = excess(topology, tier, np.ceil(share), table)
        below = shortage(topology, tier, np.floor(share), table)
        most = np.maximum(most, np.maximum(above, below))
    return int(most.sum())


def excess(topology: Topology, tier: int, upper: FloatArray | IntArray, table: IntArray) -> IntArray:
    """Per partition, the replicas in tree nodes of a tier beyond `upper` of them."""
    member = np.append(topology.member[tier], -1)
    nodes = member[table]
    limit = np.append(upper, np.inf)
    above = np.zeros(table.shape[1], dtype=np.int64)
    for r, z in enumerate(nodes):
        earlier = sum((z == other).astype(np.int64) for other in nodes[:r])
        above += earlier >= limit[z]
    return above


def shortage(topology: Topology, tier: int, lower: FloatArray | IntArray, table: IntArray) -> IntArray:
    """Per partition, the replicas that tree nodes of a tier lack to have `lower` of them."""
    nodes = np.append(topology.member[tier], -1)[table]
    below = np.zeros(table.shape[1], dtype=np.int64)
    for z in np.flatnonzero(lower > 0):
        below += np.maximum(int(lower[z]) - (nodes == z).sum(axis=0), 0)
    return below
