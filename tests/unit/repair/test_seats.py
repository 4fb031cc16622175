"""What a device should hold, and what it lacks: decisions over groups, without any device."""

import pytest

from proxy.repair.seats import RUN_GAP_MAX, RUN_MAX, Run, Seat, former_home, lack, runs, seats_of
from storage.types import BlobGroup
from tests.property.core.world import World, run
from tests.property.repair.rings import moved

SEAT = Seat(3, "ec-4-2", 1)


def group(number: int, blobs: int, digest: int, size_bytes: int = 0) -> BlobGroup:
    return BlobGroup("ec-4-2", 3, number, blobs, size_bytes or blobs * 10, digest)


def test_every_seat_of_the_ring_is_some_devices() -> None:
    async def scene() -> None:
        ring = World(devices=7).ring
        found = [seat for member in ring.members for seat in seats_of(ring, member.id)]
        assert len(found) == len(set(found)) == ring.partition_count * (3 + 6)
        for member in ring.members:
            seats = seats_of(ring, member.id)
            assert seats == sorted(seats)
            for seat in seats:
                assert ring.devices(seat.policy, seat.partition)[seat.number] == member.id

    run(scene())


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ([], []),
        ([5], [Run(5, 1)]),
        ([5, 6, 9], [Run(5, 5)]),
        ([5, 5 + RUN_GAP_MAX + 1], [Run(5, 1), Run(5 + RUN_GAP_MAX + 1, 1)]),
        (list(range(RUN_MAX + 2)), [Run(0, RUN_MAX), Run(RUN_MAX, 2)]),
    ],
)
def test_runs_cover_all_partitions_and_little_else(partitions: list[int], expected: list[Run]) -> None:
    assert runs(partitions) == expected
    covered = {p for first, length in expected for p in range(first, first + length)}
    assert covered >= set(partitions)


def test_seats_that_hold_the_same_lack_nothing() -> None:
    assert lack(SEAT, group(1, 4, 99), {0: group(0, 4, 99), 2: group(2, 4, 99)}) is None
    assert lack(SEAT, None, {0: None, 2: None}) is None
    assert lack(SEAT, group(1, 4, 99), {0: None}) is None  # it is the other one that lacks


def test_what_others_hold_more_is_what_is_left() -> None:
    found = lack(SEAT, group(1, 4, 99), {0: group(0, 6, 7), 2: group(2, 4, 99), 3: group(3, 5, 8)})
    assert found is not None
    assert (found.blobs, found.size_bytes, found.others) == (2, 20, (0, 3))


def test_an_empty_device_lacks_all_and_asks_one_of_those_that_hold_the_same() -> None:
    found = lack(SEAT, None, {number: group(number, 6, 7) for number in (0, 2, 3)})
    assert found is not None
    assert (found.blobs, found.size_bytes, found.others) == (6, 60, (0,))


def test_equal_counts_of_other_blobs_are_looked_at() -> None:
    found = lack(SEAT, group(1, 4, 99), {0: group(0, 4, 98)})
    assert found is not None
    assert (found.blobs, found.others) == (0, (0,))


def test_the_former_home_is_that_before_the_latest_move() -> None:
    async def scene() -> None:
        world = World(devices=8)
        first = world.ring
        second = moved(first, world.random, 1.0)
        third = moved(second, world.random, 1.0)
        for partition in range(first.partition_count):
            for number in range(6):
                seat = Seat(partition, "ec-4-2", number)
                homes = [r.devices("ec-4-2", partition)[number] for r in (first, second, third)]
                if homes[2] != homes[1]:
                    assert former_home(third, seat) == homes[1]
                elif homes[1] != homes[0]:
                    assert former_home(third, seat) == homes[0]
                else:
                    assert former_home(third, seat) is None
                assert former_home(first, seat) is None

    run(scene())
