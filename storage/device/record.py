"""Journal records, format 1: their bytes, and how to read them back. doc/formats/journal.md is the
table.

A record is a fixed front, a head, the checksum of both, and a payload with a checksum of its own, so
that a payload is verified by itself when it is read by position. The head's checksum is seeded with the
device's incarnation and the record's position: a record of another device or another place is no record
here, whoever wrote those bytes into a payload.
"""

import enum
import struct
from typing import Final, NamedTuple

from xxhash import xxh3_64_digest, xxh3_64_intdigest

FORMAT: Final = 1
MAGIC: Final = b"\xa7J\x01"

FRONT: Final = struct.Struct("<3sBIIQ")
"""magic, kind, head length, payload length, payload checksum"""

CHECK_BYTES: Final = 8
MIN_RECORD_BYTES: Final = FRONT.size + CHECK_BYTES

SEGMENT_MAGIC: Final = b"ATOLLJNL"
SEGMENT_FRONT: Final = struct.Struct("<8sHHI16s")
"""magic, format, reserved, segment number, the device's incarnation"""
SEGMENT_HEADER_BYTES: Final = SEGMENT_FRONT.size + CHECK_BYTES

POSITION: Final = struct.Struct("<II")
ROW: Final = struct.Struct("<HHBBQ32s16s")
"""key length, row flags, number of earlier versions, marks, size, version, promised"""
REPLACED: Final = struct.Struct("<QIIIQ")
"""replaced at (ns), and the replaced manifest's segment, offset, length, checksum"""
GARBAGE: Final = struct.Struct("<QQ32s")
"""seq, replaced at (ns), replaced version; then the key"""

MARK_REPLACED: Final = 1
"""A REPLACED part follows the earlier versions: this row made garbage."""


class Kind(enum.IntEnum):
    """What a record says."""

    BATCH = 1  # begins a group commit: head = position up to which all was durable before it
    ROW = 2  # a row's whole state, payload included
    PROMISE = 3  # a row's whole state but for the payload, which stays where it was
    BLOB = 4  # a committed blob: head = msgpack BlobEntry
    BLOB_REMOVED = 5  # head = id, number
    FORGOTTEN = 6  # garbage hints dealt with: head = their seqs
    GARBAGE = 7  # a garbage hint moved by compaction, payload = manifest
    ERASED = 8  # what older records say of some rows, or of a whole shard, is void: msgpack Erasure


class Position(NamedTuple):
    """A place in the journal; positions compare in the order of writing."""

    segment: int
    offset: int

    @property
    def seq(self) -> int:
        """The place as one number."""
        return self.segment << 32 | self.offset


class Record(NamedTuple):
    """A record whose head was verified; its payload was not."""

    kind: int
    start: int
    head: bytes
    payload_offset: int
    payload_bytes: int
    payload_checksum: int

    @property
    def end(self) -> int:
        """Offset behind the record."""
        return self.payload_offset + self.payload_bytes


def salt(incarnation: bytes) -> int:
    """The device's part of the head checksums' seed."""
    return xxh3_64_intdigest(incarnation)


def encode(kind: int, head: bytes, payload_bytes: int, payload_checksum: int, seed: int) -> bytes:
    """A record without its payload. seed: `salt(incarnation) ^ Position.seq` of its first byte."""
    first = FRONT.pack(MAGIC, kind, len(head), payload_bytes, payload_checksum) + head
    return first + xxh3_64_digest(first, seed)


def encode_segment_header(number: int, incarnation: bytes) -> bytes:
    """The first bytes of a segment file."""
    front = SEGMENT_FRONT.pack(SEGMENT_MAGIC, FORMAT, 0, number, incarnation)
    return front + xxh3_64_digest(front)


def segment_format(header: bytes) -> int | None:
    """The format of a segment by its header, None where the header is damaged or cut short."""
    front, check = header[: SEGMENT_FRONT.size], header[SEGMENT_FRONT.size :]
    if len(header) < SEGMENT_HEADER_BYTES or xxh3_64_digest(front) != check:
        return None
    magic, version, _, _, _ = SEGMENT_FRONT.unpack(front)
    return int(version) if magic == SEGMENT_MAGIC else None


def parse(view: memoryview, offset: int, seed_base: int) -> Record | None:
    """The record at `offset`, or None where none with a sound head, of full length, begins there.

    seed_base: `salt(incarnation) ^ (segment << 32)`.
    """
    end_of_view = len(view)
    if end_of_view - offset < MIN_RECORD_BYTES:
        return None
    magic, kind, head_bytes, payload_bytes, checksum = FRONT.unpack_from(view, offset)
    check_at = offset + FRONT.size + head_bytes
    payload_at = check_at + CHECK_BYTES
    if magic != MAGIC or payload_at + payload_bytes > end_of_view:
        return None
    first = bytes(view[offset:check_at])
    if xxh3_64_digest(first, seed_base ^ offset) != view[check_at:payload_at]:
        return None
    return Record(kind, offset, first[FRONT.size :], payload_at, payload_bytes, checksum)


def payload_is_sound(view: memoryview, record: Record) -> bool:
    """True where the record's payload matches its checksum."""
    if not record.payload_bytes:
        return True
    payload = view[record.payload_offset : record.end]
    return xxh3_64_intdigest(payload) == record.payload_checksum
