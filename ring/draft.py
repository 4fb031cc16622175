"""Changes that the operator has asked for and not applied yet, kept in a draft file beside the ring.

A draft is a list of changes made for one epoch; `target_of` says what the ring's devices and
placements are to be. The file is JSON, described in doc/formats/ring.md. What the changes move is
decided in `ring.builder`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ring.errors import InvalidChange, RingCorrupt, RingError, StalePlan, UnknownDevice
from ring.file import read_bytes, remove, write_bytes
from ring.lookup import Ring
from ring.types import (
    DEVICES_MAX,
    PLACEMENTS_MAX,
    ROWS,
    ROWS_REPLICAS,
    Device,
    DeviceState,
    Placement,
    check_weight,
)
from runtime.disk import Disk, RealDisk

DRAFT_SUFFIX = ".draft"
FORMAT = "atoll-ring-draft"
VERSION = 1


@dataclass(frozen=True, slots=True)
class AddDevice:
    """A new device; its id is the ring's next one."""

    device: Device


@dataclass(frozen=True, slots=True)
class RemoveDevice:
    """Drain a device and let it go; a lost one at once, as nothing can be read from it."""

    device_id: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Give a device another weight."""

    device_id: int
    weight: float


@dataclass(frozen=True, slots=True)
class AddPlacement:
    """A new storage policy."""

    placement: Placement


Change = AddDevice | RemoveDevice | SetWeight | AddPlacement


@dataclass(frozen=True, slots=True)
class Draft:
    """Changes in the order they were asked for, on top of the ring of one epoch."""

    epoch: int
    changes: tuple[Change, ...] = ()

    def with_change(self, ring: Ring, change: Change) -> "Draft":
        """The draft with one more change, checked against what the others make of the ring.

        Raises StalePlan, InvalidChange, UnknownDevice, InvalidDevice.
        """
        draft = Draft(self.epoch, (*self.changes, change))
        target_of(ring, draft)
        return draft


@dataclass(frozen=True, slots=True)
class Target:
    """What the ring is to be made of."""

    devices: tuple[Device, ...]
    placements: tuple[Placement, ...]
    next_device_id: int


def target_of(ring: Ring, draft: Draft) -> Target:
    """The devices and placements that a draft asks for.

    The rows placement gets its third replica as soon as there are devices for it. Raises StalePlan,
    InvalidChange, UnknownDevice.
    """
    if draft.epoch != ring.epoch:
        raise StalePlan("draft", draft.epoch, ring.epoch)
    devices = {device.id: device for device in ring.members}
    placements = {placement.name: placement for placement in ring.placements}
    next_id = ring.next_device_id
    for change in draft.changes:
        match change:
            case AddDevice(device):
                _add(devices, device, next_id)
                next_id += 1
            case RemoveDevice(device_id, lost):
                state = DeviceState.LOST if lost else DeviceState.LEAVING
                _edit(devices, device_id, state=state)
            case SetWeight(device_id, weight):
                check_weight(weight)
                _reweight(devices, device_id, weight)
            case AddPlacement(placement):
                _add_placement(placements, placement)
    ordered = tuple(devices[device_id] for device_id in sorted(devices))
    return Target(ordered, _with_rows_grown(placements, ordered), next_id)


def _add(devices: dict[int, Device], device: Device, next_id: int) -> None:
    if device.id != next_id:
        raise InvalidChange(f"device {device.id} is added out of turn, the next id is {next_id}")
    if len(devices) >= DEVICES_MAX:
        raise InvalidChange(f"a ring has at most {DEVICES_MAX} devices")
    place = (device.address, device.node, device.path)
    for other in devices.values():
        same = (other.address, other.node, other.path) == place
        if same and other.state is DeviceState.ACTIVE:
            raise InvalidChange(f"device {other.id} is already at {device.path} of node {device.node}")
    devices[device.id] = device


def _edit(devices: dict[int, Device], device_id: int, **fields: Any) -> None:
    if device_id not in devices:
        raise UnknownDevice(device_id)
    devices[device_id] = dataclasses.replace(devices[device_id], **fields)


def _reweight(devices: dict[int, Device], device_id: int, weight: float) -> None:
    if device_id in devices and devices[device_id].state is not DeviceState.ACTIVE:
        raise InvalidChange(f"device {device_id} is leaving the ring, its weight no longer counts")
    _edit(devices, device_id, weight=weight)


def _add_placement(placements: dict[str, Placement], placement: Placement) -> None:
    if placement.name in placements:
        raise InvalidChange(f"the ring already has a placement {placement.name}")
    if len(placements) >= PLACEMENTS_MAX:
        raise InvalidChange(f"a ring has at most {PLACEMENTS_MAX} placements")
    placements[placement.name] = placement


def _with_rows_grown(
    placements: Mapping[str, Placement], devices: Sequence[Device]
) -> tuple[Placement, ...]:
    grown = dict(placements)
    rows = grown.get(ROWS)
    if rows is not None:
        usable = sum(
            device.share_weight > 0 and rows.device_class in ("", device.device_class)
            for device in devices
        )
        replicas = max(rows.replicas, min(ROWS_REPLICAS, usable))
        grown[ROWS] = dataclasses.replace(rows, replicas=replicas)
    return tuple(grown.values())


def draft_path(ring_path: str) -> str:
    """Where the draft of a ring file lies."""
    return ring_path + DRAFT_SUFFIX


def save_draft(draft: Draft, ring_path: str, disk: Disk | None = None) -> None:
    """Write the draft file, durably. Raises OSError."""
    write_bytes(encode_draft(draft), draft_path(ring_path), disk or RealDisk())


def load_draft(ring_path: str, disk: Disk | None = None) -> Draft:
    """Read the draft file. Raises RingFileMissing, RingCorrupt, OSError."""
    return decode_draft(read_bytes(draft_path(ring_path), disk or RealDisk(), "draft"))


def discard_draft(ring_path: str, disk: Disk | None = None) -> None:
    """Remove the draft file where there is one. Raises OSError."""
    remove(draft_path(ring_path), disk or RealDisk())


def encode_draft(draft: Draft) -> bytes:
    """The bytes of a draft file."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "epoch": draft.epoch,
        "changes": [_encode_change(change) for change in draft.changes],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _encode_change(change: Change) -> dict[str, Any]:
    match change:
        case AddDevice(device):
            return {"change": "add", "device": dataclasses.asdict(device)}
        case RemoveDevice(device_id, lost):
            return {"change": "remove", "device_id": device_id, "lost": lost}
        case SetWeight(device_id, weight):
            return {"change": "weight", "device_id": device_id, "weight": weight}
        case AddPlacement(placement):
            return {"change": "placement", "placement": dataclasses.asdict(placement)}


def decode_draft(data: bytes) -> Draft:
    """The draft of a file's bytes. Raises RingCorrupt."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise RingCorrupt("the draft file is of a version that this build can't read")
        changes = tuple(_decode_change(item) for item in document["changes"])
        return Draft(_integer(document["epoch"]), changes)
    except RingCorrupt:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RingError) as error:
        raise RingCorrupt(f"the draft file is damaged: {error}") from error


def _decode_change(item: Mapping[str, Any]) -> Change:
    match item["change"]:
        case "add":
            fields = dict(item["device"])
            state = DeviceState(fields.pop("state"))
            return AddDevice(Device(**fields, state=state))
        case "remove":
            return RemoveDevice(_integer(item["device_id"]), bool(item["lost"]))
        case "weight":
            return SetWeight(_integer(item["device_id"]), float(item["weight"]))
        case "placement":
            return AddPlacement(Placement(**item["placement"]))
        case other:
            raise RingCorrupt(f"the draft file has an unknown change {other!r}")


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RingCorrupt(f"the draft file has {value!r} where a number belongs")
    return value
