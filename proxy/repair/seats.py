"""Which blobs a device should hold, by seat, and what it lacks of them: pure functions.

A seat is a place in the ring: replica or fragment `number` of a partition under a policy. All seats of
one partition and policy hold the same blobs, so two of them are compared by count and digest, and only
where these differ by the blobs' ids.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from proxy.core.placement import ROWS_PLACEMENT
from ring.lookup import Ring
from ring.types import NO_DEVICE
from storage.types import BlobGroup

RUN_GAP_MAX: Final = 16
"""Partitions this close together are asked for in one question."""

RUN_MAX: Final = 1024
"""Partitions that one question spans at most: the answer has a group for each seat among them."""


class Seat(NamedTuple):
    """A place in the ring, in order of partitions."""

    partition: int
    policy: str
    number: int


class Run(NamedTuple):
    """Partitions first … first + length - 1."""

    first: int
    length: int


def seat_of(group: BlobGroup) -> Seat:
    """Where the blobs of a group belong."""
    return Seat(group.partition, group.policy, group.number)


def seats_of(ring: Ring, device_id: int) -> list[Seat]:
    """All seats of a device for blobs, in order."""
    seats = []
    for placement in ring.placements:
        if placement.name != ROWS_PLACEMENT:
            numbers, partitions = np.nonzero(ring.tables[placement.name] == device_id)
            for number, partition in zip(numbers.tolist(), partitions.tolist(), strict=True):
                seats.append(Seat(partition, placement.name, number))
    return sorted(seats)


def runs(partitions: Iterable[int]) -> list[Run]:
    """Ranges that cover some partitions, given in order, with small gaps."""
    found: list[Run] = []
    for partition in partitions:
        if found:
            first, length = found[-1]
            if partition - first < min(RUN_MAX, length + RUN_GAP_MAX):
                found[-1] = Run(first, max(length, partition - first + 1))
                continue
        found.append(Run(partition, 1))
    return found


def former_home(ring: Ring, seat: Seat) -> int | None:
    """The device that held a seat before its latest move, as far as the ring remembers."""
    for step in reversed(ring.steps[seat.policy]):
        moved = np.flatnonzero((step.partitions == seat.partition) & (step.replicas == seat.number))
        if len(moved):
            source = int(step.sources[moved[-1]])
            return None if source == NO_DEVICE else source
    return None


class Lack(NamedTuple):
    """A seat that may lack blobs: at least so many, to judge by the other seats' groups.

    others: the seats whose groups differ, the fullest first. after: the blobs of the first of them are
    noted up to this id.
    """

    seat: Seat
    blobs: int
    size_bytes: int
    others: tuple[int, ...]
    after: bytes = b""


def lack(seat: Seat, mine: BlobGroup | None, others: Mapping[int, BlobGroup | None]) -> Lack | None:
    """What a seat may lack, or None where all others that were asked hold what it holds.

    others: by number; None for one that holds nothing there.
    """
    held = (0, 0, 0) if mine is None else (mine.blobs, mine.size_bytes, mine.digest)
    differing = {
        number: group
        for number, group in others.items()
        if group is not None and (group.blobs, group.digest) != (held[0], held[2])
    }
    if not differing:
        return None
    order = sorted(differing, key=lambda number: -differing[number].blobs)
    fullest = differing[order[0]]
    return Lack(
        seat,
        max(0, fullest.blobs - held[0]),
        max(0, fullest.size_bytes - held[1]),
        tuple(_each_set_once(order, differing)),
    )


def _each_set_once(order: list[int], groups: Mapping[int, BlobGroup]) -> list[int]:
    """Of seats that hold the same blobs, the first one is enough."""
    seen: set[tuple[int, int]] = set()
    chosen = []
    for number in order:
        said = (groups[number].blobs, groups[number].digest)
        if said not in seen:
            seen.add(said)
            chosen.append(number)
    return chosen
