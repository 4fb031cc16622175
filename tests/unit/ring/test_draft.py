"""Pending changes: what they make of a ring, and their file."""

import pytest

from ring.builder import build
from ring.draft import (
    AddDevice,
    AddPlacement,
    Change,
    Draft,
    RemoveDevice,
    SetWeight,
    decode_draft,
    discard_draft,
    encode_draft,
    load_draft,
    save_draft,
    target_of,
)
from ring.errors import (
    InvalidChange,
    InvalidDevice,
    RingCorrupt,
    RingError,
    RingFileMissing,
    StalePlan,
    UnknownDevice,
)
from ring.lookup import Ring
from ring.types import DeviceState, Placement, default_placements
from tests.unit.ring.clusters import CLUSTER_ID, cluster, device

ALL: tuple[Change, ...] = (
    AddDevice(device(6, 2.5, zone="zürich", device_class="ssd")),
    RemoveDevice(0),
    RemoveDevice(1, lost=True),
    SetWeight(2, 0.0),
    AddPlacement(Placement("fast", 2, "ssd")),
)


def ring() -> Ring:
    return build(cluster(3, 1, 2), default_placements(6), 3, 1, cluster_id=CLUSTER_ID)


def test_changes_apply_in_order() -> None:
    target = target_of(ring(), Draft(1, (*ALL, SetWeight(2, 5.0))))
    states = {d.id: d.state for d in target.devices}
    assert states[0] is DeviceState.LEAVING
    assert states[1] is DeviceState.LOST
    assert {d.id: d.weight for d in target.devices}[2] == 5.0
    assert target.next_device_id == 7
    assert target.placements[-1] == Placement("fast", 2, "ssd")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (AddDevice(device(5)), InvalidChange),
        (AddDevice(device(7)), InvalidChange),
        (RemoveDevice(6), UnknownDevice),
        (SetWeight(6, 1.0), UnknownDevice),
        (SetWeight(0, -1.0), InvalidDevice),
        (AddPlacement(Placement("rows", 3)), InvalidChange),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: Change, error: type[RingError]) -> None:
    with pytest.raises(error):
        Draft(1).with_change(ring(), change)


def test_a_place_holds_one_device() -> None:
    one = ring()
    taken = one.device(3)
    twin = device(6, zone=taken.zone, node=taken.node)
    object.__setattr__(twin, "path", taken.path)
    with pytest.raises(InvalidChange, match="device 3"):
        Draft(1).with_change(one, AddDevice(twin))
    Draft(1).with_change(one, RemoveDevice(3)).with_change(one, AddDevice(twin))


def test_a_leaving_device_takes_no_weight() -> None:
    with pytest.raises(InvalidChange, match="leaving"):
        Draft(1, (RemoveDevice(0),)).with_change(ring(), SetWeight(0, 3.0))


def test_a_draft_of_another_epoch_is_refused() -> None:
    with pytest.raises(StalePlan):
        target_of(ring(), Draft(2))


def test_a_draft_survives_its_file(tmp_path: object) -> None:
    path = f"{tmp_path}/ring"
    with pytest.raises(RingFileMissing):
        load_draft(path)
    save_draft(Draft(1, ALL), path)
    save_draft(Draft(2, ALL), path)
    assert load_draft(path) == Draft(2, ALL)
    discard_draft(path)
    discard_draft(path)
    with pytest.raises(RingFileMissing):
        load_draft(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"atoll-ring-draft", b"other"),
        (b'"version": 1', b'"version": 2'),
        (b'"epoch": 1', b'"epoch": "1"'),
        (b'"epoch": 1', b'"epoch": true'),
        (b'"change": "remove"', b'"change": "explode"'),
        (b'"change": "remove"', b'"chance": "remove"'),
        (b'"state": 0', b'"state": 9'),
        (b'"weight": 2.5', b'"weight": -2.5'),
        (b'"weight": 2.5', b'"weight": "x"'),
        (b'"replicas": 2', b'"replicas": 2000'),
        (b"{", b"["),
        (b'"changes"', b'"change"'),
    ],
)
def test_a_damaged_draft_is_refused(old: bytes, new: bytes) -> None:
    data = encode_draft(Draft(1, ALL))
    assert old in data
    with pytest.raises(RingCorrupt):
        decode_draft(data.replace(old, new, 1))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_draft_is_refused(data: bytes) -> None:
    with pytest.raises(RingCorrupt):
        decode_draft(data)
