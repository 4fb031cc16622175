"""Objects and blobs by copies, against a count done one partition at a time."""

import zlib

import numpy as np
import pytest

from ring.builder import apply
from ring.draft import Draft, RemoveDevice
from ring.plan import plan
from ring.types import ROWS
from tests.unit.health.clusters import PER_PARTITION, RING, held
from tools.health.copies import Tally, copies, holders, needed, tally
from tools.health.report import Census, Held, pack, unpack


def counted(placement: str = ROWS, seed: int = 1) -> Tally:
    things = np.random.default_rng(seed).integers(0, 50, RING.partition_count)
    return Tally(things.astype(np.int64), np.ones(RING.partition_count, dtype=np.bool_))


def by_hand(tallied: Tally, placement: str, gone: set[int]) -> dict[int, tuple[int, set[int]]]:
    """By copies there: things, and the devices that have the missing ones."""
    found: dict[int, tuple[int, set[int]]] = {}
    for partition in range(RING.partition_count):
        ids = RING.devices(placement, partition)
        missing = {number for number in ids if number in gone}
        things = int(tallied.things[partition])
        if missing and things:
            before, causes = found.get(len(ids) - len(missing), (0, set()))
            found[len(ids) - len(missing)] = (before + things, causes | missing)
    return found


@pytest.mark.parametrize("placement", [ROWS, "replicated-3", "ec-4-2"])
@pytest.mark.parametrize("gone", [set(), {0}, {3, 4, 5}, {0, 3, 7, 11}, set(range(12))])
def test_it_is_what_counting_by_hand_gives(placement: str, gone: set[int]) -> None:
    tallied = counted(placement)
    found = copies(RING, placement, tallied, gone, ())
    assert {s.have: (s.things, set(s.causes)) for s in found.short} == by_hand(tallied, placement, gone)
    assert [s.have for s in found.short] == sorted(s.have for s in found.short)
    assert found.full == (not gone)
    assert found.total == tallied.total


def test_devices_in_doubt_are_told_apart_from_those_that_are_gone() -> None:
    tallied = counted()
    found = copies(RING, ROWS, tallied, {0}, {3})
    surely = by_hand(tallied, ROWS, {0})
    assert {s.have: (s.things, set(s.causes)) for s in found.short} == surely
    perhaps = sum(
        int(tallied.things[partition])
        for partition in range(RING.partition_count)
        if 3 in RING.devices(ROWS, partition) and 0 not in RING.devices(ROWS, partition)
    )
    assert found.unknown == perhaps > 0
    assert found.doubted == (3,)
    assert not found.full


def test_partitions_that_nobody_counted_are_not_taken_for_empty() -> None:
    nothing = Tally(np.zeros(RING.partition_count, np.int64), np.zeros(RING.partition_count, np.bool_))
    found = copies(RING, ROWS, nothing, {0}, ())
    of_device = int((RING.tables[ROWS] == 0).sum())
    assert [(s.have, s.things, s.uncounted) for s in found.short] == [(2, 0, of_device)]
    assert not found.counted


def test_empty_partitions_that_were_counted_are_short_of_nothing() -> None:
    empty = Tally(np.zeros(RING.partition_count, np.int64), np.ones(RING.partition_count, np.bool_))
    assert copies(RING, ROWS, empty, {0}, ()).short == ()


def test_devices_that_are_not_in_the_table_do_no_harm() -> None:
    assert copies(RING, ROWS, counted(), {99, 4000}, {77}).full


# ---- what devices counted ------------------------------------------------------------------------


def census(*devices: int, things: int = PER_PARTITION, part_power: int = RING.part_power) -> Census:
    return Census(taken_ns=1, part_power=part_power, held=[held(RING, devices, ROWS, things)])


def test_one_that_lags_does_not_lower_the_count() -> None:
    found = tally([census(0, 1, 2), census(*range(3, 12), things=3)], ROWS, RING.part_power)
    low, high = RING.partition_count * 3, RING.partition_count * PER_PARTITION
    assert low < found.total < high
    both = tally([census(*range(12)), census(*range(12), things=3)], ROWS, RING.part_power)
    assert both.total == high
    assert both.counted.all()


def test_counts_of_another_part_power_or_placement_do_not_count() -> None:
    assert not tally([census(*range(12), part_power=9)], ROWS, RING.part_power).counted.any()
    assert not tally([census(*range(12))], "ec-4-2", RING.part_power).counted.any()


def test_a_partition_number_beyond_the_ring_is_left_out() -> None:
    beyond = pack(np.array([RING.partition_count, 2**31]))
    made = Census(
        taken_ns=1,
        part_power=RING.part_power,
        held=[Held(placement=ROWS, partitions=beyond, things=beyond)],
    )
    assert tally([made], ROWS, RING.part_power).total == 0


def test_counts_that_are_none_hide_no_others() -> None:
    good = pack(np.array([0, 1, 2])), pack(np.array([5, 6, 7]))
    nonsense = [(b"no zlib", good[1]), (good[0], b""), (good[0], pack(np.array([9])))]
    censuses = [
        Census(
            taken_ns=1,
            part_power=RING.part_power,
            held=[Held(placement=ROWS, partitions=partitions, things=things)],
        )
        for partitions, things in (*nonsense, good)
    ]
    assert tally(censuses, ROWS, RING.part_power).total == 18


def test_numbers_are_packed_and_come_back() -> None:
    values = np.array([0, 1, 2**32 - 1, 7])
    assert unpack(pack(values), 4).tolist() == values.tolist()
    for bad, most in ((pack(values), 3), (b"no zlib", 4), (zlib.compress(b"abc"), 4)):
        with pytest.raises(ValueError, match=r"."):
            unpack(bad, most)


# ---- ring changes --------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True])
def test_while_an_epoch_moves_rows_those_who_had_them_count(lost: bool) -> None:
    step = plan(RING, Draft(RING.epoch).with_change(RING, RemoveDevice(7, lost)), 1)
    after = apply(RING, step)
    assert (holders(after, ROWS) == RING.tables[ROWS]).all()
    assert (after.tables[ROWS] != RING.tables[ROWS]).any()
    tallied = counted()
    found = copies(after, ROWS, tallied, (), ())
    if not lost:
        assert found.full
        return
    # What the lost device had is at two copies, until newcomers have settled and a next epoch says so.
    assert [(s.have, s.things) for s in found.short] == [
        (2, sum(int(tallied.things[p]) for p in range(64) if 7 in RING.devices(ROWS, p)))
    ]


def test_rows_need_a_majority_and_blobs_their_data_fragments() -> None:
    assert [needed(ROWS, of, 1) for of in (1, 2, 3, 5)] == [1, 2, 2, 3]
    assert needed("replicated-3", 3, 1) == 1
    assert needed("ec-4-2", 6, 4) == 4
