"""Format v1 of a blob file: header block, data, checksum table, footer. Pure functions on bytes.

`blob_files.py` writes and reads files of it; `doc/formats/blob.md` has the byte tables.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import xxhash

from storage.contract import Buffer, DeviceFault
from storage.types import BLOB_ID_BYTES, BLOB_MAX_BYTES, BlobHeader, Fault

VERSION: Final = 1
HEADER_BYTES: Final = 4096
"""The header block's length, one page: the data are page-aligned."""

DIGEST_BYTES: Final = 8

DATA_MAX_BYTES: Final = 2 * BLOB_MAX_BYTES
"""Bytes in one blob file at most: a blob's own, and room for the headers of fragments."""

CHUNK_MIN_BYTES: Final = 512
NUMBER_MAX: Final = 0xFFFF

HASH_STEP_BYTES: Final = 64 * 1024
"""Longer input is hashed in steps of this size: up to here xxhash keeps the GIL. Where it lets it go,
getting it back from a busy event loop takes up to a whole switch interval, 5 ms."""

_MAGIC: Final = b"ATOLLBLB"
_END_MAGIC: Final = b"ATOLLEND"
_HEAD: Final = struct.Struct(">8sII")
_FOOTER: Final = struct.Struct(">Q8s8s")
FOOTER_BYTES: Final = _FOOTER.size
_PACKED_MAX_BYTES: Final = HEADER_BYTES - _HEAD.size - DIGEST_BYTES


class BlobFormatError(Exception):
    """The bytes are not a whole blob file of a known version; the text says what is wrong."""


class Footer(NamedTuple):
    """A blob file's end. seal binds header, length and table together."""

    data_bytes: int
    seal: bytes


def pack_header(header: BlobHeader) -> bytes:
    """The header block. Raises ValueError for a header out of bounds, DeviceFault(TOO_LARGE)."""
    check_header(header)
    packed = msgspec.msgpack.encode(header)
    if len(packed) > _PACKED_MAX_BYTES:
        raise DeviceFault(Fault.TOO_LARGE, f"blob header of {len(packed)} bytes")
    block = (_HEAD.pack(_MAGIC, VERSION, len(packed)) + packed).ljust(
        HEADER_BYTES - DIGEST_BYTES, b"\0"
    )
    return block + xxhash.xxh3_64_digest(block)


def check_header(header: BlobHeader) -> None:
    """Raise ValueError for a name or chunk size that a blob file can't have."""
    if len(header.name.id) != BLOB_ID_BYTES or not 0 <= header.name.number <= NUMBER_MAX:
        raise ValueError(f"not a blob name: {header.name}")
    if not CHUNK_MIN_BYTES <= header.chunk_bytes <= DATA_MAX_BYTES:
        raise ValueError(f"chunk_bytes {header.chunk_bytes} out of bounds")


def parse_header(block: Buffer) -> BlobHeader:
    """The header in a header block. Raises BlobFormatError."""
    if len(block) != HEADER_BYTES:
        raise BlobFormatError("shorter than a header block")
    body = memoryview(block)[: HEADER_BYTES - DIGEST_BYTES]
    if xxhash.xxh3_64_digest(body) != header_digest(block):
        raise BlobFormatError("the header fails its checksum")
    magic, version, length = _HEAD.unpack_from(body)
    if magic != _MAGIC or version != VERSION:
        raise BlobFormatError(f"not a blob file of version {VERSION}")
    try:
        header = msgspec.msgpack.decode(body[_HEAD.size : _HEAD.size + length], type=BlobHeader)
        check_header(header)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BlobFormatError(f"the header does not decode: {error}") from error
    return header


def header_digest(block: Buffer) -> bytes:
    """The checksum at a header block's end."""
    return bytes(block[HEADER_BYTES - DIGEST_BYTES :])


def pack_footer(block: Buffer, data_bytes: int, table: bytes) -> bytes:
    """The footer of a file with this header block, length of data and checksum table."""
    return _FOOTER.pack(data_bytes, seal_of(block, data_bytes, table), _END_MAGIC)


def parse_footer(data: Buffer) -> Footer:
    """The footer in a file's last FOOTER_BYTES. Raises BlobFormatError."""
    if len(data) != FOOTER_BYTES:
        raise BlobFormatError("shorter than a footer")
    data_bytes, seal, magic = _FOOTER.unpack(data)
    if magic != _END_MAGIC:
        raise BlobFormatError("the file has no end")
    return Footer(data_bytes, seal)


def seal_of(block: Buffer, data_bytes: int, table: Buffer) -> bytes:
    """XXH3-64 over the header's checksum, the length of the data, and the table."""
    seal = xxhash.xxh3_64(header_digest(block) + data_bytes.to_bytes(8, "big"))
    seal.update(table)
    digest: bytes = seal.digest()
    return digest


def chunk_count(data_bytes: int, chunk_bytes: int) -> int:
    """How many chunks, and entries of the table, some data have."""
    return -(-data_bytes // chunk_bytes)


def file_bytes(data_bytes: int, chunk_bytes: int) -> int:
    """Length of a whole blob file."""
    return (
        HEADER_BYTES + data_bytes + DIGEST_BYTES * chunk_count(data_bytes, chunk_bytes) + FOOTER_BYTES
    )


def digest(chunk: memoryview) -> bytes:
    """The checksum of one chunk: XXH3-64, canonical (big-endian)."""
    if len(chunk) <= HASH_STEP_BYTES:
        whole: bytes = xxhash.xxh3_64_digest(chunk)
        return whole
    state = xxhash.xxh3_64()
    for start in range(0, len(chunk), HASH_STEP_BYTES):
        state.update(chunk[start : start + HASH_STEP_BYTES])
    stepped: bytes = state.digest()
    return stepped


def digests(data: memoryview, chunk_bytes: int) -> bytes:
    """The table's entries for data that begin at a chunk's start; the last chunk may be short."""
    return b"".join(
        [digest(data[start : start + chunk_bytes]) for start in range(0, len(data), chunk_bytes)]
    )


def first_bad_chunk(data: memoryview, chunk_bytes: int, table: Buffer, first: int) -> int | None:
    """The first chunk that fails its checksum, of data that begin with chunk number `first`."""
    found = digests(data, chunk_bytes)
    start = first * DIGEST_BYTES
    expected = bytes(table[start : start + len(found)])
    if found == expected:
        return None
    differing = next(i for i in range(0, len(found), 8) if found[i : i + 8] != expected[i : i + 8])
    return first + differing // DIGEST_BYTES


class ChunkTable:
    """Checksums of a stream that is cut into chunks, whatever the pieces in which it arrives."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._done: list[bytes] = []
        self._open = xxhash.xxh3_64()
        self._open_bytes = 0

    def update(self, pieces: Sequence[memoryview]) -> None:
        """Take the stream's next bytes."""
        for piece in pieces:
            self._update(piece)

    def _update(self, piece: memoryview) -> None:
        if self._open_bytes:
            lead = self._chunk_bytes - self._open_bytes
            self._begin(piece[:lead])
            piece = piece[lead:]
        whole = len(piece) - len(piece) % self._chunk_bytes
        if whole:
            self._done.append(digests(piece[:whole], self._chunk_bytes))
        if whole < len(piece):
            self._begin(piece[whole:])

    def _begin(self, part: memoryview) -> None:
        """Add to the open chunk; `part` does not reach beyond its end."""
        for start in range(0, len(part), HASH_STEP_BYTES):
            self._open.update(part[start : start + HASH_STEP_BYTES])
        self._open_bytes += len(part)
        if self._open_bytes == self._chunk_bytes:
            self._end_chunk()

    def _end_chunk(self) -> None:
        self._done.append(self._open.digest())
        self._open.reset()
        self._open_bytes = 0

    def finish(self) -> bytes:
        """The whole table; a short last chunk ends here."""
        if self._open_bytes:
            self._end_chunk()
        return b"".join(self._done)
