"""What a ring needs next, by what its processes say."""

import pytest

from proxy.repair.ring_change import Act, needed
from ring.builder import apply, build, plan
from ring.draft import AddDevice, Draft
from ring.epochs import settled
from ring.lookup import Ring
from ring.types import ROWS, Device, default_placements
from storage.node import Progress

NOW_S = 1_700_000_000


def device(number: int) -> Device:
    return Device(number, f"{number + 1:032x}", "r", "z", f"n{number}", "h:1", f"/d{number}", 1.0)


def quiet() -> Ring:
    members = [device(number) for number in range(6)]
    return build(members, default_placements(6), 5, 7, cluster_id="0" * 32, min_part_hours=0)


def joint() -> Ring:
    ring = quiet()
    return apply(ring, plan(ring, Draft(1).with_change(ring, AddDevice(device(6))), NOW_S))


EXPECTED = len(joint().steps[ROWS][-1])
JOINT, QUIET = joint(), quiet()
AFTER = settled(JOINT)


@pytest.mark.parametrize(
    ("ring", "progress", "balanced", "act"),
    [
        (QUIET, [Progress(1), Progress(1)], True, Act.NOTHING),
        (QUIET, [Progress(1), Progress(1)], False, Act.PLAN),
        (QUIET, [Progress(1), None], False, Act.WAIT),
        (QUIET, [Progress(1), None], True, Act.WAIT),
        (JOINT, [Progress(2, EXPECTED - 1, 1), Progress(2)], False, Act.WAIT),
        (JOINT, [Progress(2, EXPECTED - 1), Progress(2, 1)], False, Act.SETTLE),
        (JOINT, [Progress(2, EXPECTED), None], False, Act.SETTLE),
        (JOINT, [Progress(1, EXPECTED), Progress(2)], False, Act.WAIT),
        (AFTER, [Progress(3, leftovers=1), Progress(3)], False, Act.WAIT),
        (AFTER, [Progress(3, misplaced=1), Progress(3)], False, Act.WAIT),
        (AFTER, [Progress(3), Progress(2)], False, Act.WAIT),
        (AFTER, [Progress(3, unsettled=1), Progress(3)], False, Act.WAIT),
        (AFTER, [Progress(3, unsettled=1), Progress(3)], True, Act.WAIT),
        (AFTER, [Progress(3), Progress(3)], False, Act.PLAN),
    ],
)
def test_what_a_ring_needs(
    ring: Ring, progress: list[Progress | None], balanced: bool, act: Act
) -> None:
    assert needed(ring, progress, balanced=balanced).act is act


def test_devices_that_were_not_looked_through_are_not_taken_for_work_left() -> None:
    found = needed(AFTER, [Progress(3, unsettled=3)], balanced=False)
    assert (found.misplaced, found.unknown) == (0, 3)
    assert found.why == "3 devices have not been looked through yet"
