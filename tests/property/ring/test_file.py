"""Any ring survives its file; any bytes are read or refused."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from ring.builder import build
from ring.draft import Draft, RemoveDevice, SetWeight, decode_draft, encode_draft
from ring.errors import RingFileError
from ring.file import decode, encode
from ring.format_v1 import CHECKSUM_BYTES, MAGIC
from ring.types import Device, Placement
from tests.format.ring import golden
from tests.unit.ring.clusters import CLUSTER_ID

TEXT = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
DEVICES = st.lists(
    st.builds(
        Device,
        id=st.integers(0, 70_000),
        incarnation=st.text("0123456789abcdef", min_size=32, max_size=32),
        region=TEXT,
        zone=TEXT,
        node=TEXT,
        address=TEXT,
        path=TEXT,
        weight=st.floats(1e-6, 1e9),
        device_class=TEXT,
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.id,
)
GOLDEN = encode(golden.ring())


@given(DEVICES, st.integers(0, 6), st.integers(1, 4), st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_any_ring_survives_its_file(
    devices: list[Device], part_power: int, replicas: int, salt: int
) -> None:
    ring = build(devices, [Placement("p", replicas)], part_power, salt, cluster_id=CLUSTER_ID)
    found = decode(encode(ring))
    assert found.members == ring.members
    assert found.tables["p"].tolist() == ring.tables["p"].tolist()
    assert encode(found) == encode(ring)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(data: bytes) -> None:
    for start in (b"", MAGIC, MAGIC + struct.pack("<H", 1)):
        try:
            decode(start + data)
        except RingFileError:
            continue
        raise AssertionError("random bytes were taken for a ring")


@given(
    st.lists(st.tuples(st.integers(10, len(GOLDEN) - CHECKSUM_BYTES - 1), st.integers(0, 255))),
    st.integers(0, 40),
)
@settings(max_examples=400, deadline=None)
def test_a_sealed_file_with_any_bytes_changed_is_read_or_refused(
    changes: list[tuple[int, int]], cut: int
) -> None:
    """The checksum is right, so only the fields' own checks are left."""
    body = bytearray(GOLDEN[:-CHECKSUM_BYTES])
    for offset, value in changes:
        body[offset] = value
    del body[len(body) - cut :]
    struct.pack_into("<Q", body, 16, len(body) + CHECKSUM_BYTES)
    data = bytes(body) + xxh3_128_digest(body)
    try:
        found = decode(data)
    except RingFileError:
        return
    assert encode(found) == data


@given(
    st.integers(0, 1 << 40),
    st.lists(
        st.builds(RemoveDevice, st.integers(0, 99), st.booleans())
        | st.builds(SetWeight, st.integers(0, 99), st.floats(0, 1e9))
    ),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_any_draft_survives_its_file_and_damage_is_refused(
    epoch: int, changes: list[RemoveDevice | SetWeight], data: st.DataObject
) -> None:
    draft = Draft(epoch, tuple(changes))
    encoded = encode_draft(draft)
    assert decode_draft(encoded) == draft
    cut = data.draw(st.integers(0, len(encoded) - 3))
    try:
        decode_draft(encoded[:cut])
    except RingFileError:
        return
    raise AssertionError("half a draft was taken for a whole one")
