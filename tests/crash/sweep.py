"""Goes through the power cuts of a recorded run: each legal state of the disk is looked at once."""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from tests.crash.crash_images import Image
from tests.crash.device_rig import DeviceRig, LateLane, ManualClock
from tests.crash.invariants import AFTER_S, Indexes, Restart, no_indexes
from tests.crash.ledger import Ledger
from tests.crash.recording_disk import RecordingDisk
from tests.crash.workload import Workload

EVERY_STATE = os.environ.get("ATOLL_CRASH_IMAGES") == "all"
"""Look at every state that is made, not at a share of them; `make crash` does."""


class Case(NamedTuple):
    """A state of the disk. upto: how many events may have gone before; the latest for which it is
    legal, because then the most had been acknowledged."""

    upto: int
    image: Image


def power_cuts(disk: RecordingDisk, rng: random.Random, since: int = 0) -> list[Case]:
    """All states that power cuts after event `since` may leave, each once."""
    crashes = disk.crashes(since)
    cases: dict[str, Case] = {}
    for upto, event in enumerate(disk.events[since:], since + 1):
        crashes.add(event)
        for image in crashes.images(rng):
            cases[image.key()] = Case(upto, image)
    return list(cases.values())


def share(cases: list[Case], rng: random.Random, number: int) -> list[Case]:
    """At most `number` of the cases, unless every one is wanted."""
    return cases if EVERY_STATE or len(cases) <= number else rng.sample(cases, number)


def ledgers(disk: RecordingDisk, cases: list[Case]) -> Iterator[tuple[Case, Ledger]]:
    """Each case with what had been acknowledged by then."""
    events = disk.events
    for case in cases:
        yield case, Ledger.of(event.subject for event in events[: case.upto] if event.kind == "ack")


async def record(
    seed: int, steps: int, *, lies: bool = False, indexes: Indexes = no_indexes
) -> RecordingDisk:
    """A recorded run of random work."""
    disk, rng = RecordingDisk(), random.Random(seed)
    disk.lies = lies
    rig = await DeviceRig.open(
        disk, lanes=lambda name: LateLane(random.Random(f"{seed} {name}")), open_index=indexes(disk)
    )
    workload = Workload(rig, rng)
    for _ in range(steps):
        await workload.step()
    await workload.settle()
    workload.rig.crash()
    return disk


async def find_faults(
    disk: RecordingDisk, cases: list[Case], note: str, indexes: Indexes = no_indexes
) -> list[str]:
    """What is wrong in any of the cases."""
    faults = []
    for number, (case, ledger) in enumerate(ledgers(disk, cases)):
        found = await Restart(case.image, ledger, indexes=indexes).faults()
        faults += [f"{note}, event {case.upto}, case {number}: {fault}" for fault in found]
    return faults


def without_index(cases: list[Case]) -> list[Case]:
    """The same, with the index lost: by damage, not by a power cut."""
    return [Case(case.upto, replace(case.image, index={})) for case in cases]


async def cut_starts(case: Case, rng: random.Random, *, rebuilt: bool = False) -> list[Case]:
    """States that a power cut during, or right after, a start on `case`'s image may leave."""
    disk = RecordingDisk(case.image)
    rig = await DeviceRig.open(disk, ManualClock(AFTER_S))
    assert rebuilt or not rig.device.status().notes
    rig.crash()
    return [Case(case.upto, again.image) for again in power_cuts(disk, rng)]
