"""The working state of one rebalancing step: who holds what, what may still move, what is allowed.

Mutable, private to the builder: `ring.scatter`, `ring.matching` and `ring.chains` propose batches of
replacements, the board says which are legal and carries them out. A replacement puts leaf `new` in
the place of replica r of partition p. One step replaces at most one replica of a partition.
"""

import numpy as np

from ring.quota import Quota
from ring.topology import DEVICE, TIERS, Topology
from ring.types import BoolArray, IntArray

VACANT = -1
"""In a table: no leaf yet."""


class Board:
    """A table of leaves (replicas x partitions, VACANT where empty) under its quota.

    frozen: partitions that may not move in this step, except off lost leaves.
    """

    def __init__(self, topology: Topology, quota: Quota, table: IntArray, frozen: BoolArray) -> None:
        self.topology = topology
        self.quota = quota.count[DEVICE]
        self.table = table.copy()
        self.home = self.table.copy()
        self.frozen = frozen
        self.moved = np.full(table.shape[1], -1, dtype=np.int64)
        """Per partition the replica that this step replaced, -1 for none."""
        self.held = np.bincount(table[table >= 0], minlength=topology.leaf_count)
        self._lost = np.append(topology.lost, False)
        self._all_tiers = [
            Tier(topology.member[t], quota.lower[t], quota.upper[t])
            for t in TIERS
            if topology.size(t) > 1 or topology.leaf_count == 1
        ]
        self._tiers = self._binding_tiers()

    @property
    def partition_count(self) -> int:
        """2^part_power."""
        return int(self.table.shape[1])

    def surplus(self) -> IntArray:
        """Per leaf what it holds above its quota; negative where it lacks."""
        return self.held - self.quota

    def lacking(self) -> IntArray:
        """Leaves below their quota, each as often as it lacks a replica."""
        lack = np.maximum(-self.surplus(), 0)
        return np.repeat(np.arange(len(lack)), lack)

    def movable(self, p: IntArray, r: IntArray) -> BoolArray:
        """Whether replica r of partition p may be replaced in this step."""
        free: BoolArray = ~self.frozen[p] | self._lost[self.table[r, p]]
        return free & (self.moved[p] < 0)

    def fits(self, p: IntArray, r: IntArray, new: IntArray) -> BoolArray:
        """Whether each replacement keeps partition p within its bounds in every tier.

        A bound that is violated already may stay so, but gets no worse.
        """
        old = self.table[r, p]
        column = self.table[:, p]
        fine: BoolArray = (self.quota[new] > 0) & (new != old)
        for tier in self._tiers:
            fine &= tier.allows(column, old, new)
        return fine

    def fits_where(self, p: IntArray, r: IntArray) -> BoolArray:
        """slots x leaves: `fits` for every leaf at once. No slot may be vacant."""
        old = self.table[r, p]
        column = self.table[:, p]
        fine: BoolArray = np.broadcast_to(self.quota > 0, (len(p), len(self.quota))).copy()
        fine[np.arange(len(p)), old] = False
        for tier in self._tiers:
            fine &= tier.allows_where(column, old)
        return fine

    def heals(self, p: IntArray, r: IntArray, new: IntArray) -> BoolArray:
        """Whether each replacement is legal and takes partition p nearer to its bounds."""
        old = self.table[r, p]
        column = self.table[:, p]
        better = np.zeros(len(p), dtype=np.bool_)
        for tier in self._all_tiers:
            better |= tier.improves(column, old, new)
        return better & self.fits(p, r, new)

    def amiss(self, p: IntArray) -> BoolArray:
        """Whether partitions break their bounds in some tier."""
        column = self.table[:, p]
        bad = np.zeros(len(p), dtype=np.bool_)
        for tier in self._all_tiers:
            bad |= tier.overfull(column) | tier.starved(column)
        return bad

    def amends(self, p: IntArray, r: IntArray, new: IntArray) -> IntArray:
        """By how many moves each replacement brings partition p nearer to its bounds."""
        old = self.table[r, p]
        column = self.table[:, p]
        now = np.zeros(len(p), dtype=np.int64)
        then = now.copy()
        for tier in self._all_tiers:
            tier_now, tier_then = tier.amiss(column, old, new)
            now, then = np.maximum(now, tier_now), np.maximum(then, tier_then)
        return now - then

    def put(self, p: IntArray, r: IntArray, new: IntArray) -> None:
        """Carry out replacements of distinct partitions. One that goes back home is no move."""
        old = self.table[r, p]
        self.table[r, p] = new
        self.moved[p] = np.where(new == self.home[r, p], -1, r)
        size = len(self.held)
        self.held += np.bincount(new, minlength=size)
        self.held -= np.bincount(old[old >= 0], minlength=size)

    def put_instead(self, p: IntArray, r: IntArray) -> None:
        """Undo this step's moves of distinct partitions and let replica r make each instead."""
        first = self.moved[p]
        origin, leaving = self.home[first, p], self.table[r, p]
        self.table[r, p] = self.table[first, p]
        self.table[first, p] = origin
        self.moved[p] = np.where(self.table[r, p] == self.home[r, p], -1, r)
        size = len(self.held)
        self.held += np.bincount(origin, minlength=size)
        self.held -= np.bincount(leaving, minlength=size)

    def broken(self) -> BoolArray:
        """All partitions with a tree node above its upper or below its lower bound."""
        return self.amiss(np.arange(self.partition_count))

    def break_bounds(self, p: IntArray, r: IntArray, new: IntArray) -> None:
        """`put` what does not fit: from now on `fits` can take no tier for granted."""
        self._tiers = self._all_tiers
        self.put(p, r, new)

    def _binding_tiers(self) -> "list[Tier]":
        """The tiers that `fits` must look at, the widest first.

        Where no partition has two replicas in one tree node of a tier, now or ever, the tiers below
        can't be violated.
        """
        binding: list[Tier] = []
        for tier in self._all_tiers:
            binding.append(tier)
            single = bool((tier.upper[:-1] <= 1).all())
            if single and not tier.overfull(self.table).any():
                break
        return binding


class Tier:
    """Bounds on one partition's replicas in the tree nodes of one tier.

    The arrays end with one more entry, which index VACANT finds: it belongs to no tree node.
    """

    def __init__(self, member: IntArray, lower: IntArray, upper: IntArray) -> None:
        self.member = np.append(member, -1)
        self.lower = np.append(lower, -1)
        self.upper = np.append(upper, np.iinfo(np.int64).max)

    def allows(self, column: IntArray, old: IntArray, new: IntArray) -> BoolArray:
        """column: replicas x candidates, the leaves of each candidate's partition."""
        z_old, z_new, in_old, in_new = self._counts(column, old, new)
        fine: BoolArray = (in_new < self.upper[z_new]) & (in_old > self.lower[z_old])
        fine |= z_old == z_new
        return fine

    def allows_where(self, column: IntArray, old: IntArray) -> BoolArray:
        """candidates x leaves: `allows` for every leaf at once."""
        size, rows = len(self.upper) - 1, np.arange(len(old))
        count = np.zeros((len(old), size), dtype=np.int16)
        for leaves in column:
            count[rows, self.member[leaves]] += 1
        z_old = self.member[old]
        fine = count < self.upper[:-1]
        fine &= (count[rows, z_old] > self.lower[z_old])[:, None]
        fine[rows, z_old] = True
        return fine[:, self.member[:-1]]

    def improves(self, column: IntArray, old: IntArray, new: IntArray) -> BoolArray:
        """Whether the move relieves an overfull tree node or feeds a starved one."""
        z_old, z_new, in_old, in_new = self._counts(column, old, new)
        better: BoolArray = (in_old > self.upper[z_old]) | (in_new < self.lower[z_new])
        better &= z_old != z_new
        return better

    def amiss(self, column: IntArray, old: IntArray, new: IntArray) -> tuple[IntArray, IntArray]:
        """Replicas out of place now and after the replacement: too many somewhere or too few."""
        z_old, z_new, in_old, in_new = self._counts(column, old, new)
        crosses = z_old != z_new
        over, under = self._over(column), self._under(column)
        over_then = over - (crosses & (in_old > self.upper[z_old]))
        over_then += crosses & (in_new >= self.upper[z_new])
        under_then = under + (crosses & (in_old <= self.lower[z_old]))
        under_then -= crosses & (in_new < self.lower[z_new])
        return np.maximum(over, under), np.maximum(over_then, under_then)

    def _over(self, column: IntArray) -> IntArray:
        nodes = self.member[column]
        over = np.zeros(column.shape[1], dtype=np.int64)
        for r, z in enumerate(nodes):
            earlier = sum((z == other).astype(np.int64) for other in nodes[:r])
            over += earlier >= self.upper[z]
        return over

    def _under(self, column: IntArray) -> IntArray:
        under = np.zeros(column.shape[1], dtype=np.int64)
        for z in np.flatnonzero(self.lower[:-1] > 0):
            count = (self.member[column] == z).sum(axis=0)
            under += np.maximum(self.lower[z] - count, 0)
        return under

    def _counts(
        self, column: IntArray, old: IntArray, new: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        z_old, z_new = self.member[old], self.member[new]
        in_old = np.zeros(len(old), dtype=np.int64)
        in_new = np.zeros(len(old), dtype=np.int64)
        for leaves in column:
            z = self.member[leaves]
            in_old += z == z_old
            in_new += z == z_new
        return z_old, z_new, in_old, in_new

    def overfull(self, table: IntArray) -> BoolArray:
        """Partitions with more than `upper` replicas in some tree node."""
        bad = np.zeros(table.shape[1], dtype=np.bool_)
        nodes = [self.member[leaves] for leaves in table]
        for z in nodes:
            count = sum((z == other).astype(np.int64) for other in nodes)
            bad |= count > self.upper[z]
        return bad

    def starved(self, table: IntArray) -> BoolArray:
        """Partitions with less than `lower` replicas in some tree node."""
        bad = np.zeros(table.shape[1], dtype=np.bool_)
        for z in np.flatnonzero(self.lower[:-1] > 0):
            count = (self.member[table] == z).sum(axis=0)
            bad |= count < self.lower[z]
        return bad
