"""Where a blob's copies may be beside their homes."""

import dataclasses
import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.homes import HANDOFFS_MAX, HANDOFFS_SEARCHED, Handoffs, former_homes
from ring.types import NO_DEVICE, Device, DeviceState, Step


def device(number: int, zone: str, **other: object) -> Device:
    node = f"node-{zone}"
    made = Device(number, f"{number + 1:032x}", "r", zone, node, "a", f"/{number}", 1.0)
    return dataclasses.replace(made, **other)  # type: ignore[arg-type]


FOUR_NODES = [device(n, f"z{n // 2}") for n in range(8)]
MANY = [device(n, f"z{n % 5}") for n in range(60)]

ids = st.binary(min_size=16, max_size=16)


@given(ids)
def test_they_are_few_others_and_always_the_same(blob_id: bytes) -> None:
    homes = (3, 9, 27)
    found = Handoffs(MANY).searched(blob_id, homes)
    assert len(found) == len(set(found)) == HANDOFFS_SEARCHED
    assert not set(found) & set(homes)
    assert found == Handoffs(list(reversed(MANY))).searched(blob_id, homes)
    offered = Handoffs(MANY).offered(blob_id, homes)
    assert sorted(offered) == sorted(found[:HANDOFFS_MAX])


@given(ids, st.integers(0, 59))
def test_one_device_more_or_less_hides_nothing_that_was_handed_off(blob_id: bytes, gone: int) -> None:
    homes = (3, 9, 27)
    fewer = [m for m in MANY if m.id != gone]
    here = set(homes) | {gone}
    before = set(Handoffs(fewer).offered(blob_id, homes))
    assert before <= set(Handoffs(MANY).searched(blob_id, homes))
    after = set(Handoffs(MANY).offered(blob_id, homes))
    assert after - here <= set(Handoffs(fewer).searched(blob_id, homes))


@given(ids)
def test_a_home_that_moves_hides_nothing_either(blob_id: bytes) -> None:
    handoffs = Handoffs(MANY)
    assert set(handoffs.offered(blob_id, (1, 2, 3))) - {4} <= set(handoffs.searched(blob_id, (1, 2, 4)))


@given(ids)
def test_zones_without_a_home_come_first(blob_id: bytes) -> None:
    offered = Handoffs(FOUR_NODES).offered(blob_id, (0, 2, 4))
    assert len(offered) == 5
    assert set(offered[:2]) == {6, 7}


def test_devices_that_leave_come_last_and_lost_ones_not_at_all() -> None:
    members = list(FOUR_NODES)
    members[6] = device(6, "z3", state=DeviceState.LEAVING)
    members[7] = device(7, "z3", state=DeviceState.LOST)
    offered = Handoffs(members).offered(b"b" * 16, (0, 2, 4))
    assert offered[-1] == 6
    assert sorted(offered) == [1, 3, 5, 6]


def test_a_placement_of_one_class_stays_in_it() -> None:
    members = [device(n, "z", device_class="ssd" if n < 3 else "hdd") for n in range(8)]
    assert Handoffs(members).searched(b"b" * 16, (0, 1), "ssd") == [2]
    assert Handoffs(members).searched(b"b" * 16, (), "tape") == []


def test_the_load_of_a_dead_device_is_spread_over_all_others() -> None:
    counts = np.zeros(60)
    handoffs = Handoffs(MANY)
    for _ in range(3000):
        counts[handoffs.searched(os.urandom(16), (3,))[0]] += 1
    assert counts[3] == 0
    assert counts.max() < 100  # 51 on average: 100 is seven deviations away


def test_ranks_stay_what_they_are() -> None:
    """Another release must find what this one handed off."""
    assert Handoffs(MANY).searched(bytes(range(16)), ())[:6] == [18, 0, 41, 37, 8, 51]


def test_former_homes_come_from_the_moves_kept_in_the_ring_the_latest_first() -> None:
    def step(epoch: int, moves: list[tuple[int, int, int]]) -> Step:
        partitions, replicas, sources = zip(*moves, strict=True)
        return Step(
            epoch,
            0,
            np.array(partitions, dtype=np.uint32),
            np.array(replicas, dtype=np.uint8),
            np.array(sources, dtype=np.uint32),
        )

    steps = (step(2, [(7, 0, 11), (8, 1, 12)]), step(3, [(7, 1, 13), (7, 2, NO_DEVICE)]))
    assert former_homes(steps, 7) == [13, 11]
    assert former_homes(steps, 8) == [12]
    assert former_homes(steps, 9) == []
