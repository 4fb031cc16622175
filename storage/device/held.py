"""A row as the device holds it: its state, where its payload lies, and its bytes in journal and index.

The journal's row head and the index's row value are both whole states: replaying a record twice, or
moving it, changes nothing. doc/formats/index.md has the byte table.
"""

import struct
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_digest

from storage.device.record import MARK_REPLACED, REPLACED, ROW
from storage.replica import RowState
from storage.types import VERSION_BYTES, ZERO_VERSION, RowFlag

VALUE: Final = struct.Struct("<8s32s16sQHBBIIIQII")
"""check, version, promised, size, flags, number of
earlier versions, marks (0), payload segment, offset, length, checksum, promise record's segment,
offset"""

EMPTY: Final = RowState()
RECORD_COST_BYTES: Final = 108
"""A row record's length without key, head and payload, as far as live bytes are counted."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """One state of one row.

    segment, offset, length, checksum: the payload in the journal; the offset names the record even
    where the payload is empty. promise_segment, promise_offset: a promise record newer than the row
    record, or 0, 0. A row that was only ever promised has version ZERO_VERSION and segment 0.
    """

    state: RowState
    flags: int
    size: int
    head: bytes
    segment: int
    offset: int
    length: int
    checksum: int
    promise_segment: int = 0
    promise_offset: int = 0

    @property
    def live(self) -> bool:
        """True for a row that exists, false for a tombstone and for a promise alone."""
        return not self.flags & RowFlag.TOMBSTONE and self.state.version != ZERO_VERSION

    @property
    def counted(self) -> bool:
        """True where the row adds to its shard's count (the seal row is the caller's affair)."""
        return (
            not self.flags & (RowFlag.TOMBSTONE | RowFlag.UNCOUNTED)
            and self.state.version != ZERO_VERSION
        )


GONE: Final = Held(EMPTY, 0, 0, b"", 0, 0, 0, 0)
"""In the place of a row that was erased, over what the index still has of it. Compared by identity."""


def remnant(held: Held, segment: int, offset: int) -> Held:
    """What is left of a row when all that the journal says of it before a place is void. Pure.

    `held` itself where nothing is void, GONE where all is; a promise made since stays alone.
    """
    origin = segment, offset
    if (held.segment, held.offset) >= origin:
        return held
    if (held.promise_segment, held.promise_offset) < origin:
        return GONE
    if not held.segment:
        return held
    state = RowState(promised=held.state.promised)
    return Held(state, 0, 0, b"", 0, 0, 0, 0, held.promise_segment, held.promise_offset)


class IndexDamagedError(Exception):
    """Something in the index does not match its checksum, or the index can't be read."""


class Replaced(NamedTuple):
    """The manifest that a row record replaced: where it lies, and when it was replaced."""

    replaced_ns: int
    segment: int
    offset: int
    length: int
    checksum: int


def encode_row_head(
    key: bytes, state: RowState, flags: int, size: int, head: bytes, replaced: Replaced | None
) -> bytes:
    """The head of a ROW or PROMISE record."""
    fixed = ROW.pack(
        len(key),
        flags,
        len(state.earlier),
        0 if replaced is None else MARK_REPLACED,
        size,
        state.version,
        state.promised,
    )
    if replaced is None:
        return b"".join((fixed, *state.earlier, key, head))
    return b"".join((fixed, *state.earlier, REPLACED.pack(*replaced), key, head))


class RowHead(NamedTuple):
    """A decoded ROW or PROMISE record head."""

    key: bytes
    state: RowState
    flags: int
    size: int
    head: bytes
    replaced: Replaced | None


def decode_row_head(data: bytes) -> RowHead:
    """The inverse of `encode_row_head`."""
    key_bytes, flags, count, marks, size, version, promised = ROW.unpack_from(data)
    at = ROW.size
    earlier = split_versions(data, at, count)
    at += count * VERSION_BYTES
    replaced = None
    if marks & MARK_REPLACED:
        replaced = Replaced(*REPLACED.unpack_from(data, at))
        at += REPLACED.size
    state = RowState(version, promised, earlier)
    return RowHead(data[at : at + key_bytes], state, flags, size, data[at + key_bytes :], replaced)


def split_versions(data: bytes, at: int, count: int) -> tuple[bytes, ...]:
    """`count` versions that lie one after the other from `at`."""
    return tuple(data[at + i * VERSION_BYTES : at + (i + 1) * VERSION_BYTES] for i in range(count))


_VALUE_REST: Final = struct.Struct("<32s16sQHBBIIIQII")


def encode_value(key: bytes, held: Held) -> bytes:
    """The index value of a row; its checksum covers the key, too."""
    state = held.state
    rest = b"".join(
        (
            _VALUE_REST.pack(
                state.version,
                state.promised,
                held.size,
                held.flags,
                len(state.earlier),
                0,
                held.segment,
                held.offset,
                held.length,
                held.checksum,
                held.promise_segment,
                held.promise_offset,
            ),
            *state.earlier,
            held.head,
        )
    )
    return xxh3_64_digest(key + rest) + rest


def decode_value(key: bytes, value: bytes) -> Held:
    """The row in an index value; IndexDamagedError where its checksum does not match."""
    if len(value) < VALUE.size or xxh3_64_digest(key + value[8:]) != value[:8]:
        raise IndexDamagedError("a row's value does not match its checksum")
    (
        _,
        version,
        promised,
        size,
        flags,
        count,
        _,
        segment,
        offset,
        length,
        checksum,
        promise_segment,
        promise_offset,
    ) = VALUE.unpack_from(value)
    at = VALUE.size
    earlier: tuple[bytes, ...] = ()
    if count:
        earlier = split_versions(value, at, count)
        at += count * VERSION_BYTES
    return Held(
        RowState(version, promised, earlier),
        flags,
        size,
        value[at:],
        segment,
        offset,
        length,
        checksum,
        promise_segment,
        promise_offset,
    )


def record_cost(key_bytes: int, held: Held) -> int:
    """Live bytes that a row's record stands for in its segment."""
    return RECORD_COST_BYTES + key_bytes + len(held.head) + held.length


def promise_cost(key_bytes: int) -> int:
    """Live bytes that a promise record stands for in its segment."""
    return RECORD_COST_BYTES + key_bytes
