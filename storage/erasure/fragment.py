"""Format v1 of a fragment: a 32-byte header that says what it is, then the payload. No codec here.

The codecs write and check these headers. `doc/formats/fragment.md` has the byte table.
"""

import struct
from typing import Final, NamedTuple

import xxhash

from storage.erasure.contract import Buffer, FragmentMismatch, FragmentSlice

HEADER_BYTES: Final = 32
MAGIC: Final = b"AtFr"
VERSION: Final = 1

FRAGMENTS_MAX: Final = 32
"""The most data fragments, and the most parity fragments, of a code."""

SEGMENT_SIZE_MAX: Final = 64 * 1024 * 1024
"""Bytes of the longest segment."""

CODEC_IDS: Final = {"isa_l_rs_cauchy": 1, "zfec": 2}
"""Codec names and their byte in the header. Numbers are never given anew."""

_FIELDS: Final = struct.Struct(">4sBBBBB3xI8x")
_NAMES: Final = {byte: name for name, byte in CODEC_IDS.items()}


class FragmentHeader(NamedTuple):
    """What a fragment says of itself; segment_size in bytes."""

    codec: str
    k: int
    m: int
    number: int
    segment_size: int

    def pack(self) -> bytes:
        """The header's HEADER_BYTES bytes."""
        fields = _FIELDS.pack(
            MAGIC, VERSION, CODEC_IDS[self.codec], self.k, self.m, self.number, self.segment_size
        )
        return fields + xxhash.xxh3_64_digest(fields)


def parse(number: int, fragment: Buffer) -> FragmentHeader:
    """The header of `fragment`, which was given for place `number`. Raises FragmentMismatch."""
    head = bytes(fragment[:HEADER_BYTES])
    if len(head) < HEADER_BYTES:
        raise FragmentMismatch(number, f"only {len(head)} bytes")
    magic, version, codec, k, m, place, segment_size = _FIELDS.unpack_from(head)
    if magic != MAGIC or head[_FIELDS.size :] != xxhash.xxh3_64_digest(head[: _FIELDS.size]):
        raise FragmentMismatch(number, "no fragment header, or a damaged one")
    if version != VERSION:
        raise FragmentMismatch(number, f"format version {version}, this build reads {VERSION}")
    if codec not in _NAMES:
        raise FragmentMismatch(number, f"unknown codec number {codec}")
    if not 1 <= segment_size <= SEGMENT_SIZE_MAX:
        raise FragmentMismatch(number, f"segment size {segment_size} out of bounds")
    return FragmentHeader(_NAMES[codec], k, m, place, segment_size)


def payload_bytes(segment_size: int, k: int) -> int:
    """Length of a fragment's payload: a k-th of the segment, rounded up; the last ones are padded."""
    return -(-segment_size // k)


def check_segment_size(segment_size: int) -> None:
    """Raise ValueError unless a segment may have this many bytes."""
    if not 1 <= segment_size <= SEGMENT_SIZE_MAX:
        raise ValueError(f"a segment has 1 to {SEGMENT_SIZE_MAX} bytes, not {segment_size}")


def data_slices(segment_size: int, k: int, start: int, length: int) -> list[FragmentSlice]:
    """Where bytes [start, start + length) of a segment lie in its k data fragments, in order."""
    if start < 0 or length < 0 or start + length > segment_size:
        raise ValueError(f"bytes {start}+{length} are outside a segment of {segment_size}")
    size = payload_bytes(segment_size, k)
    end = start + length
    slices = []
    while start < end:
        number, offset = divmod(start, size)
        step = min(size - offset, end - start)
        slices.append(FragmentSlice(number, HEADER_BYTES + offset, step))
        start += step
    return slices
