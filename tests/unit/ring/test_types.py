"""Limits of devices and placements."""

import dataclasses
import math

import pytest

from ring.errors import InvalidDevice, InvalidPlacement
from ring.types import (
    DEVICE_ID_MAX,
    PATH_MAX_BYTES,
    TEXT_MAX_BYTES,
    WEIGHT_MAX,
    WEIGHT_MIN,
    DeviceState,
    Placement,
    default_placements,
)
from tests.unit.ring.clusters import device


@pytest.mark.parametrize("weight", [0, WEIGHT_MIN, 1, WEIGHT_MAX])
def test_a_weight_within_its_limits_is_taken(weight: float) -> None:
    assert device(0, weight).weight == weight


@pytest.mark.parametrize("weight", [-1, WEIGHT_MIN / 2, WEIGHT_MAX * 2, math.inf, -math.inf, math.nan])
def test_a_weight_outside_its_limits_is_refused(weight: float) -> None:
    with pytest.raises(InvalidDevice, match="weight"):
        device(0, weight)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", -1),
        ("id", DEVICE_ID_MAX + 1),
        ("incarnation", "short"),
        ("incarnation", "G" * 32),
        ("zone", ""),
        ("node", "line\nbreak"),
        ("region", "r" * (TEXT_MAX_BYTES + 1)),
        ("address", "\ud800"),
        ("path", "/" * (PATH_MAX_BYTES + 1)),
        ("path", "/a\0b"),
        ("device_class", "é" * TEXT_MAX_BYTES),
    ],
)
def test_a_field_outside_its_limits_is_refused(field: str, value: object) -> None:
    fields = {"id": 7, field: value}
    with pytest.raises(InvalidDevice):
        dataclasses.replace(device(7), **fields)  # type: ignore[arg-type]


def test_only_an_active_device_has_a_share() -> None:
    assert device(0, 5.0).share_weight == 5.0
    assert device(0, 5.0, state=DeviceState.LEAVING).share_weight == 0
    assert device(0, 5.0, state=DeviceState.LOST).share_weight == 0


@pytest.mark.parametrize(
    ("name", "replicas", "device_class"),
    [("", 3, ""), ("Rows", 3, ""), ("a b", 3, ""), ("ok", 0, ""), ("ok", 33, ""), ("ok", 3, "c" * 256)],
)
def test_a_bad_placement_is_refused(name: str, replicas: int, device_class: str) -> None:
    with pytest.raises(InvalidPlacement):
        Placement(name, replicas, device_class)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (1, {"rows": 1, "replicated-1": 1}),
        (2, {"rows": 2, "replicated-2": 2}),
        (5, {"rows": 3, "replicated-3": 3}),
        (6, {"rows": 3, "replicated-3": 3, "ec-4-2": 6}),
    ],
)
def test_a_fresh_store_gets_the_placements_that_fit(devices: int, expected: dict[str, int]) -> None:
    assert {p.name: p.replicas for p in default_placements(devices)} == expected
