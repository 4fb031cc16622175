"""Power cuts while a device starts after a power cut: what recovery writes is torn as well."""

import random

import pytest

from storage.device import recovery
from tests.crash.invariants import Restart
from tests.crash.ledger import Ledger
from tests.crash.recording_disk import RecordingDisk
from tests.crash.sweep import Case, cut_starts, ledgers, power_cuts, record, share, without_index

SEEDS = (9, 10, 11)
STEPS = 150
LATE = 200
"""Of this many states towards the end, in which compaction has left little of what was first."""

STARTS = 8
"""Starts that are cut off, for each seed."""

IMAGES = 12
"""States looked at for each of them."""


@pytest.fixture(autouse=True)
def checkpoints_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of a few dozen records writes checkpoints, too."""
    monkeypatch.setattr(recovery, "FLUSH_ROWS", 5)
    monkeypatch.setattr(recovery, "SLICE_RECORDS", 3)


async def find_faults(disk: RecordingDisk, cases: list[Case], rng: random.Random) -> list[str]:
    """What is wrong after a start on one of the cases was cut off."""
    faults = []
    for case, ledger in ledgers(disk, cases):
        rebuilt = not case.image.index
        for again in share(await cut_starts(case, rng, rebuilt=rebuilt), rng, IMAGES):
            found = await Restart(again.image, ledger, rebuilt=rebuilt).faults()
            faults += [f"event {case.upto}: {fault}" for fault in found]
    return faults


async def late_cases(seed: int, rng: random.Random) -> tuple[RecordingDisk, list[Case]]:
    """A recorded run, and some states towards its end."""
    disk = await record(seed, STEPS)
    cases = sorted(power_cuts(disk, rng), key=lambda case: case.upto)
    return disk, share(cases[-LATE:], rng, STARTS)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_start_may_be_cut_off_anywhere(seed: int) -> None:
    rng = random.Random(seed)
    disk, cases = await late_cases(seed, rng)
    assert await find_faults(disk, cases, rng) == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_rebuild_of_the_index_may_be_cut_off_anywhere(seed: int) -> None:
    rng = random.Random(seed)
    disk, cases = await late_cases(seed, rng)
    assert await find_faults(disk, without_index(cases), rng) == []


async def test_the_first_start_may_be_cut_off_anywhere() -> None:
    disk = await record(0, 0)
    for case in power_cuts(disk, random.Random(0)):
        assert await Restart(case.image, Ledger()).faults() == [], case.upto
