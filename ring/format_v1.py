"""Version 1 of the ring file: bytes to Ring and back. The byte table is in doc/formats/ring.md.

Little-endian, tables raw and aligned so that they are used where they lie, an XXH3-128 of all that
precedes at the end. `ring.file` has looked at the magic and the version before it calls this. The
encoding is canonical: decoding and encoding give the same bytes.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from ring.errors import RingCorrupt, RingError, RingTruncated
from ring.lookup import Ring
from ring.types import (
    DEVICES_MAX,
    MIN_PART_HOURS_MAX,
    PART_POWER_MAX,
    PLACEMENTS_MAX,
    Device,
    DeviceState,
    IdTable,
    Placement,
    Step,
)

MAGIC = b"ATOLRING"
VERSION = 1
HEADER = struct.Struct("<8sHBBIQQ16sQIId")
"""magic, version, part power, placements, devices, file size, epoch, cluster id, salt, next device
id, min part hours, overload."""
DEVICE_HEAD = struct.Struct("<IB3s16sd")
"""id, state, zeros, incarnation, weight."""
TEXT_HEAD = struct.Struct("<H")
PLACEMENT_HEAD = struct.Struct("<BBHI")
"""replicas, bytes per device id, zero, steps."""
STEP_HEAD = struct.Struct("<QQI")
"""epoch, seconds since the Unix epoch, moves."""
ALIGNMENT_BYTES = 64
CHECKSUM_BYTES = 16
NARROW_ID_MAX = 0xFFFF
"""The largest device id for which tables have two bytes per entry."""


def encode(ring: Ring) -> bytes:
    """The file of a ring."""
    parts: list[bytes] = [b"\0" * HEADER.size]
    for device in ring.members:
        parts.append(_encode_device(device))
    offset = sum(map(len, parts))
    for placement in ring.placements:
        for part in _encode_placement(ring, placement, offset):
            parts.append(part)
            offset += len(part)
    parts[0] = HEADER.pack(
        MAGIC,
        VERSION,
        ring.part_power,
        len(ring.placements),
        len(ring.members),
        offset + CHECKSUM_BYTES,
        ring.epoch,
        bytes.fromhex(ring.cluster_id),
        ring.salt,
        ring.next_device_id,
        ring.min_part_hours,
        ring.overload,
    )
    body = b"".join(parts)
    return body + xxh3_128_digest(body)


def _encode_device(device: Device) -> bytes:
    head = DEVICE_HEAD.pack(
        device.id, device.state, b"", bytes.fromhex(device.incarnation), device.weight
    )
    texts = (
        device.region,
        device.zone,
        device.node,
        device.address,
        device.path,
        device.device_class,
    )
    return head + b"".join(map(_encode_text, texts))


def _encode_text(text: str) -> bytes:
    data = text.encode("utf-8")
    return TEXT_HEAD.pack(len(data)) + data


def _encode_placement(ring: Ring, placement: Placement, offset: int) -> Iterator[bytes]:
    steps = ring.steps[placement.name]
    width = id_width_bytes(ring.next_device_id)
    head = _encode_text(placement.name) + _encode_text(placement.device_class)
    head += PLACEMENT_HEAD.pack(placement.replicas, width, 0, len(steps))
    yield head + b"\0" * (-(offset + len(head)) % ALIGNMENT_BYTES)
    yield ring.tables[placement.name].astype(f"<u{width}").tobytes()
    for step in steps:
        yield STEP_HEAD.pack(step.epoch, step.at_s, len(step))
        yield step.partitions.astype("<u4").tobytes()
        yield step.replicas.astype("<u1").tobytes()
        yield step.sources.astype("<u4").tobytes()


def id_width_bytes(next_device_id: int) -> int:
    """Bytes per entry of the tables: two while every id ever given fits."""
    return 2 if next_device_id - 1 <= NARROW_ID_MAX else 4


def decode(data: bytes) -> Ring:
    """The ring of a file. Raises RingTruncated, RingCorrupt."""
    if len(data) < HEADER.size:
        raise RingTruncated(f"the ring file has {len(data)} bytes, less than its header")
    size_bytes = HEADER.unpack_from(data)[5]
    if len(data) < size_bytes:
        raise RingTruncated(f"the ring file has {len(data)} of its {size_bytes} bytes")
    body = memoryview(data)[:-CHECKSUM_BYTES]
    if len(data) > size_bytes or xxh3_128_digest(body) != data[-CHECKSUM_BYTES:]:
        raise RingCorrupt("the ring file's checksum is wrong")
    try:
        return _decode_body(Reader(body))
    except RingCorrupt:
        raise
    except (RingError, ValueError, struct.error) as error:
        raise RingCorrupt(f"the ring file contradicts itself: {error}") from error


class Reader:
    """Walks over bytes; every step is checked against their end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.offset = 0

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The next fields. Raises struct.error at the end."""
        found = layout.unpack_from(self._data, self.offset)
        self.offset += layout.size
        return found

    def text(self) -> str:
        """The next length-prefixed UTF-8 text."""
        (size,) = self.fields(TEXT_HEAD)
        start = self.offset
        self.offset += size
        if self.offset > len(self._data):
            raise RingCorrupt("a text of the ring file goes beyond its end")
        return str(self._data[start : self.offset], "utf-8")

    def array(self, kind: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.unsignedinteger]]:
        """The next `count` numbers, where they lie. Raises ValueError at the end."""
        found: np.ndarray[tuple[int], np.dtype[np.unsignedinteger]] = np.frombuffer(
            self._data, kind, count, self.offset
        )
        self.offset += found.nbytes
        return found

    def align(self) -> None:
        """Skip zeros up to the next aligned offset."""
        end = self.offset + -self.offset % ALIGNMENT_BYTES
        if any(self._data[self.offset : end]):
            raise RingCorrupt("the ring file has data where it is to be empty")
        self.offset = end

    def done(self) -> bool:
        """Whether all was read."""
        return self.offset == len(self._data)


def _decode_body(reader: Reader) -> Ring:
    header = reader.fields(HEADER)
    _, _, part_power, placement_count, device_count, _, epoch, cluster, salt = header[:9]
    next_device_id, min_part_hours, overload = header[9:]
    if (
        part_power > PART_POWER_MAX
        or placement_count > PLACEMENTS_MAX
        or device_count > DEVICES_MAX
        or min_part_hours > MIN_PART_HOURS_MAX
        or not overload >= 0
    ):
        raise RingCorrupt("a number in the ring file's header is out of its limits")
    devices = tuple(_decode_device(reader) for _ in range(device_count))
    known = _known_ids(devices, next_device_id)
    placements: list[Placement] = []
    tables: dict[str, IdTable] = {}
    steps: dict[str, tuple[Step, ...]] = {}
    for _ in range(placement_count):
        placement, table, moved = _decode_placement(reader, part_power, next_device_id)
        if table.max(initial=0) >= len(known) or not known[table].all():
            raise RingCorrupt(f"placement {placement.name} names a device that is not in the ring")
        placements.append(placement)
        tables[placement.name], steps[placement.name] = table, moved
    if len(tables) != placement_count or not reader.done():
        raise RingCorrupt("the ring file has a placement twice or data after the last")
    return Ring(
        epoch=epoch,
        cluster_id=cluster.hex(),
        salt=salt,
        part_power=part_power,
        min_part_hours=min_part_hours,
        overload=overload,
        next_device_id=next_device_id,
        devices=devices,
        placements=tuple(placements),
        tables=tables,
        steps=steps,
    )


def _known_ids(
    devices: tuple[Device, ...], next_device_id: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    ids = [device.id for device in devices]
    if len(set(ids)) != len(ids) or any(i >= next_device_id for i in ids):
        raise RingCorrupt("the ring file gives a device id twice or out of turn")
    known = np.zeros(max(ids, default=-1) + 1, dtype=np.bool_)
    known[ids] = True
    return known


def _decode_device(reader: Reader) -> Device:
    device_id, state, zeros, incarnation, weight = reader.fields(DEVICE_HEAD)
    if any(zeros):
        raise RingCorrupt("the ring file has data where it is to be empty")
    region, zone, node, address, path, device_class = (reader.text() for _ in range(6))
    return Device(
        id=device_id,
        incarnation=incarnation.hex(),
        region=region,
        zone=zone,
        node=node,
        address=address,
        path=path,
        weight=weight,
        device_class=device_class,
        state=DeviceState(state),
    )


def _decode_placement(
    reader: Reader, part_power: int, next_device_id: int
) -> tuple[Placement, IdTable, tuple[Step, ...]]:
    name, device_class = reader.text(), reader.text()
    replicas, width, zero, step_count = reader.fields(PLACEMENT_HEAD)
    placement = Placement(name, replicas, device_class)
    if width != id_width_bytes(next_device_id) or zero:
        raise RingCorrupt(f"the ring file's table of placement {name} has an unknown form")
    reader.align()
    table = reader.array(f"<u{width}", replicas << part_power).reshape(replicas, -1)
    steps = tuple(_decode_step(reader, replicas, part_power) for _ in range(step_count))
    return placement, table, steps


def _decode_step(reader: Reader, replicas: int, part_power: int) -> Step:
    epoch, at_s, count = reader.fields(STEP_HEAD)
    step = Step(
        epoch=epoch,
        at_s=at_s,
        partitions=reader.array("<u4", count).astype(np.uint32),
        replicas=reader.array("u1", count).astype(np.uint8),
        sources=reader.array("<u4", count).astype(np.uint32),
    )
    if step.partitions.max(initial=0) >> part_power or step.replicas.max(initial=0) >= replicas:
        raise RingCorrupt("a recent move in the ring file names no replica of the ring")
    return step
