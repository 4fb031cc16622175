"""Devices and placements as the command line spells them: `KEY=VALUE,…` and `NAME=REPLICAS[@CLASS]`."""

import argparse
from collections.abc import Sequence

from ring.errors import InvalidChange, InvalidDevice, RingError
from ring.types import Device, DeviceState, Placement
from runtime.randomness import Randomness
from tools.control import NodeState

DEVICE_FIELDS = {
    "region": "region",
    "zone": "zone",
    "node": "node",
    "address": "address",
    "path": "path",
    "weight": "weight",
    "class": "device_class",
    "incarnation": "incarnation",
}
DEVICE_SPEC = (
    "KEY=VALUE,… of path (needed), region, zone, node, address (those of the ring's devices where they "
    "have one in common), weight (1), class, incarnation"
)
PLACEMENT_SPEC = "NAME=REPLICAS[@CLASS]"
FIRST_PLACE = {"region": "r1", "zone": "z1", "node": "node1", "address": ""}
"""Where the devices of a new ring are unless they say; `atoll up` names the same."""


def parse_device(
    spec: str, device_id: int, neighbours: Sequence[Device], randomness: Randomness
) -> Device:
    """A device from KEY=VALUE,…; what it leaves out of its place is as in all of `neighbours`.

    A default that matched none of them would be a new failure domain, which draws a share of all
    data. Raises InvalidDevice.
    """
    fields = _fields(spec)
    if "path" not in fields:
        raise InvalidDevice(f"device {spec!r} has no path")
    place = {key: fields.get(key) or _shared(spec, key, neighbours) for key in FIRST_PLACE}
    return Device(
        id=device_id,
        incarnation=fields.get("incarnation") or randomness.token(16).hex(),
        region=place["region"],
        zone=place["zone"],
        node=place["node"],
        address=place["address"],
        path=fields["path"],
        weight=_number(spec, fields.get("weight", "1")),
        device_class=fields.get("device_class", ""),
    )


def devices_of_node(
    name: str,
    nodes: Sequence[NodeState],
    present: Sequence[Device],
    first_id: int,
    randomness: Randomness,
) -> list[Device]:
    """The devices that an announced node brings and that are not `present`. Raises InvalidChange."""
    found = next((node for node in nodes if node.node == name and node.announced), None)
    if found is None:
        known = ", ".join(node.node for node in nodes if node.announced) or "none"
        raise InvalidChange(f"no node {name} has announced itself to the keepers; there are {known}")
    there = {(d.node, d.path) for d in present if d.state is DeviceState.ACTIVE}
    paths = [path for path in found.paths if (name, path) not in there]
    if not paths:
        raise InvalidChange(f"all {len(found.paths)} devices of node {name} are in the ring already")
    return [
        Device(
            id=first_id + number,
            incarnation=randomness.token(16).hex(),
            region=found.region,
            zone=found.zone,
            node=name,
            address=found.address,
            path=path,
            weight=1.0,
        )
        for number, path in enumerate(paths)
    ]


def _fields(spec: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for item in spec.split(","):
        key, equals, value = item.partition("=")
        if key not in DEVICE_FIELDS or not equals:
            known = ", ".join(DEVICE_FIELDS)
            raise InvalidDevice(f"device {spec!r}: {item!r} is not KEY=VALUE with one of {known}")
        fields[DEVICE_FIELDS[key]] = value
    return fields


def _shared(spec: str, key: str, neighbours: Sequence[Device]) -> str:
    """What all neighbours have in this field."""
    values = {str(getattr(device, key)) for device in neighbours}
    if len(values) > 1:
        raise InvalidDevice(f"device {spec!r} has no {key}, and the ring's devices have several")
    return values.pop() if values else FIRST_PLACE[key]


def _number(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidDevice(f"device {spec!r}: weight {text!r} is not a number") from None


def parse_placement(text: str) -> Placement:
    """A placement from NAME=REPLICAS[@CLASS]. Raises argparse.ArgumentTypeError."""
    name, _, rest = text.partition("=")
    replicas, _, device_class = rest.partition("@")
    try:
        return Placement(name, int(replicas), device_class)
    except (ValueError, RingError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
