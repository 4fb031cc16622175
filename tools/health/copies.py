"""How many objects and blobs are at how many copies: a count per partition against the ring.

What a partition holds is what its devices counted; how many of its copies are there follows from the
devices that are not. So a device that is gone costs no search: its partitions are in the ring, and the
others have counted what it held. Copies that are gone from devices that serve are the rebuild worker's
to find and to tell.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import numpy as np

from ring.lookup import Ring
from ring.types import NO_DEVICE, ROWS, BoolArray, IntArray
from tools.health.report import Census, Held, unpack

_NONE: Final = np.zeros(0, dtype=np.int64)


class Tally(NamedTuple):
    """Things per partition of one placement; counted: false where no device that holds it has told."""

    things: IntArray
    counted: BoolArray

    @property
    def total(self) -> int:
        """All of them."""
        return int(self.things.sum())


class Shortfall(NamedTuple):
    """Things of one placement with `have` of its copies. uncounted: partitions of that kind of which
    nobody has told what they hold. causes: the devices that have the missing copies, by id."""

    have: int
    things: int
    uncounted: int
    causes: tuple[int, ...]


class Copies(NamedTuple):
    """One placement with `of` copies. short: fewest copies first. unknown: things that are at full
    copies only if devices of which nothing is known here serve; doubted: those devices."""

    placement: str
    of: int
    total: int
    counted: bool
    short: tuple[Shortfall, ...]
    unknown: int
    doubted: tuple[int, ...]

    @property
    def full(self) -> bool:
        """Whether everything surely is at full copies."""
        return not self.short and not self.doubted


def tally(censuses: Iterable[Census], placement: str, part_power: int) -> Tally:
    """Add up what devices counted. Of the counts of one partition's devices the highest is taken: one
    that was away has less. Counts in another part power are left out: a new count is on its way. So are
    those that can't be read: one process, perhaps of another release, must not hide what others say.
    """
    size = 1 << part_power
    things = np.zeros(size, dtype=np.int64)
    counted = np.zeros(size, dtype=np.bool_)
    for census in censuses:
        for held in census.held if census.part_power == part_power else ():
            if held.placement == placement:
                partitions, values = _counts(held, size)
                within = partitions < size
                np.maximum.at(things, partitions[within], values[within])
                counted[partitions[within]] = True
    return Tally(things, counted)


def _counts(held: Held, size: int) -> tuple[IntArray, IntArray]:
    """Partitions and things; none where that can't be read."""
    try:
        partitions, things = unpack(held.partitions, size), unpack(held.things, size)
    except ValueError:
        return _NONE, _NONE
    return (partitions, things) if len(partitions) == len(things) else (_NONE, _NONE)


def holders(ring: Ring, placement: str) -> IntArray:
    """Who has the data now: device ids, replicas x partitions; -1 for nobody yet.

    Where this very epoch moves a replica, that is its source (which may have left the ring): a newcomer
    counts once it has settled and the next epoch names it alone.
    """
    table = ring.tables[placement].astype(np.int64)
    step = ring.moved_in_epoch(placement)
    if step is not None:
        sources = step.sources.astype(np.int64)
        sources[sources == NO_DEVICE] = -1
        table[step.replicas, step.partitions] = sources
    return table


def copies(
    ring: Ring, placement: str, tallied: Tally, gone: Collection[int], doubted: Collection[int]
) -> Copies:
    """Everything of one placement by its copies. gone: devices that surely do not serve."""
    table = holders(ring, placement)
    ids = int(table.max(initial=0)) + 2
    there = {member.id for member in ring.members} - set(gone)
    missing = ~_flags(ids, there)[table]
    in_doubt = _flags(ids, doubted)[table]
    of = len(table)
    have = of - missing.sum(axis=0)
    short = tuple(
        _shortfall(table, missing, have == level, tallied, level)
        for level in range(of)
        if bool((have == level).any())
    )
    unsure = (have == of) & in_doubt.any(axis=0)
    return Copies(
        placement,
        of,
        tallied.total,
        bool(tallied.counted.all()),
        tuple(found for found in short if found.things or found.uncounted),
        int(tallied.things[unsure].sum()),
        tuple(np.unique(table[in_doubt]).tolist()),
    )


def _flags(ids: int, numbers: Collection[int]) -> BoolArray:
    """By device id; the last one, which -1 finds, is false."""
    flags = np.zeros(ids, dtype=np.bool_)
    flags[[number for number in numbers if number < ids - 1]] = True
    return flags


def _shortfall(
    table: IntArray, missing: BoolArray, chosen: BoolArray, tallied: Tally, have: int
) -> Shortfall:
    held = chosen & (tallied.things > 0)
    uncounted = chosen & ~tallied.counted
    places = missing & (held | uncounted)
    causes = np.unique(table[places])
    return Shortfall(
        have,
        int(tallied.things[held].sum()),
        int(uncounted.sum()),
        tuple(int(number) for number in causes if number >= 0),
    )


def needed(placement: str, of: int, data_fragments: int) -> int:
    """How many copies a placement must have to be read: of rows a majority, of blobs k."""
    return of // 2 + 1 if placement == ROWS else max(1, data_fragments)
