"""The circle's pieces: shares, gaps, and what is drawn together when there are many."""

import math
import re

import pytest

from tools.page.ring_picture import ARCS_MAX, GAP, INNER, OUTER, Slot, arcs


def slots(zones: int, nodes: int, devices: int, tone: str = "") -> list[Slot]:
    return [
        Slot(f"z{zone}", f"n{zone}.{node}", f"d{zone}.{node}.{device}", 5, tone)
        for zone in range(zones)
        for node in range(nodes)
        for device in range(devices)
    ]


def angles(path: str) -> tuple[float, float]:
    """Where a piece begins and ends on the outer circle, radians from the top."""
    found = re.match(r"M(\S+) (\S+) A96 96 0 [01] 1 (\S+) (\S+) L", path)
    assert found
    x, y, x2, y2 = map(float, found.groups())
    assert math.hypot(x, y) == pytest.approx(OUTER, abs=0.02)
    return math.atan2(x, -y) % (2 * math.pi), math.atan2(x2, -y2) % (2 * math.pi)


def test_pieces_follow_each_other_with_a_gap_between_zones() -> None:
    found = arcs(slots(3, 2, 2))
    assert len(found) == 12
    assert [arc.hue for arc in found] == [0] * 4 + [1] * 4 + [2] * 4
    spans = [angles(arc.path) for arc in found]
    width = (2 * math.pi - 3 * GAP) / 12
    at = 0.0
    for number, (begin, end) in enumerate(spans):
        at += GAP if number in (4, 8) else 0.0
        assert begin == pytest.approx(at, abs=0.001)
        at += width
        assert end == pytest.approx(at, abs=0.001)


def test_a_share_is_a_width() -> None:
    wide, narrow = arcs([Slot("z", "n", "a", 30, ""), Slot("z", "n", "b", 10, "offline")])
    assert (wide.label, narrow.label) == ("a, 75.0 %", "b, 25.0 %, offline")
    assert narrow.tone == "offline"
    assert angles(narrow.path)[0] == pytest.approx(2 * math.pi * 0.75, abs=0.001)


def test_one_device_is_a_whole_ring_and_none_is_nothing() -> None:
    (whole,) = arcs([Slot("z", "n", "a", 3, ""), Slot("z", "n", "empty", 0, "")])
    assert whole.path.count("Z") == 2
    assert f"A{INNER:g}" in whole.path
    assert arcs([]) == []
    assert arcs([Slot("z", "n", "a", 0, "")]) == []


def test_many_devices_are_drawn_as_nodes_and_many_nodes_as_zones() -> None:
    by_node = arcs(slots(2, 10, ARCS_MAX // 20 + 1))
    assert [arc.label for arc in by_node][:2] == ["node n0.0, 5.0 %", "node n0.1, 5.0 %"]
    assert len(by_node) == 20
    by_zone = arcs(slots(4, ARCS_MAX, 2))
    assert [arc.label for arc in by_zone] == [f"zone z{n}, 25.0 %" for n in range(4)]


def test_a_piece_of_some_that_are_not_well_says_so() -> None:
    many = slots(2, 10, ARCS_MAX // 20 + 1)
    bad = [slot._replace(tone="offline") if slot.node == "n0.0" else slot for slot in many]
    assert arcs(bad)[0].tone == "offline"
    some = [many[0]._replace(tone="offline"), *many[1:]]
    assert (arcs(some)[0].tone, arcs(some)[1].tone) == ("partly", "")
