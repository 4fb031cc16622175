"""Power cuts at every moment of random work, in the legal states of the disk: what was acknowledged is
there, nothing torn is served, nothing comes back, and the device goes on from there."""

import random

import pytest

from storage.types import Failed, Fault, Read
from tests.crash.crossing import TURNS, crossed
from tests.crash.device_rig import DeviceRig
from tests.crash.invariants import Restart
from tests.crash.recording_disk import RecordingDisk
from tests.crash.sweep import find_faults, ledgers, power_cuts, record, share, without_index

SEEDS = range(6)
STEPS = 150
IMAGES = 250
"""States looked at for each seed, of the 2,500 to 4,500 that are made."""

REBUILT = 30
CROSSINGS = 15


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_acknowledged_survives_any_power_cut(seed: int) -> None:
    rng = random.Random(seed)
    disk = await record(seed, STEPS)
    cases = share(power_cuts(disk, rng), rng, IMAGES)
    assert await find_faults(disk, cases, f"seed {seed}") == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_index_lost_besides_costs_nothing_but_removals(seed: int) -> None:
    rng = random.Random(seed)
    disk = await record(seed, STEPS)
    cases = without_index(share(power_cuts(disk, rng), rng, REBUILT))
    for case, ledger in ledgers(disk, cases):
        assert await Restart(case.image, ledger, rebuilt=True).faults() == [], (seed, case.upto)


@pytest.mark.parametrize("turns", TURNS)
async def test_compaction_meets_what_is_on_its_way_out(turns: int) -> None:
    rng = random.Random(turns)
    disk = await crossed(turns)
    cases = share(power_cuts(disk, rng), rng, CROSSINGS)
    assert await find_faults(disk, cases, f"{turns} turns") == []


async def test_a_disk_that_does_not_sync_is_found_out() -> None:
    rng = random.Random(0)
    disk = await record(0, 8, lies=True)
    faults = await find_faults(disk, power_cuts(disk, rng), "lies")
    assert any("an acknowledged version is gone" in fault for fault in faults)


async def test_a_failed_sync_is_final() -> None:
    rig = await DeviceRig.open(RecordingDisk())
    rig.disk.sync_fails = True
    answer = await rig.ask(rig.write(b"s", b"n", b"x"))
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.OFFLINE
    rig.disk.sync_fails = False
    again = await rig.ask(Read(b"s", b"n"))
    assert isinstance(again, Failed)
    assert again.fault == Fault.OFFLINE
    assert "input/output error" in rig.device.status().offline
