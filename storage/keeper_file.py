"""The one file of a keeper: all its rows, replaced as a whole (doc/formats/keeper.md).

Version 1. Called by `keeper.py`; the bytes are checked as a whole, so a file is read entirely or not.
"""

import errno
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_128_digest

from runtime.disk import Disk, DiskFile
from storage.replica import RowState

MAGIC: Final = b"ATOLKEEP"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHHIQ")
"""magic, version, zero, rows, size of the whole file."""
CHECKSUM_BYTES: Final = 16
TEMPORARY_SUFFIX: Final = ".new"

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class KeeperFileError(Exception):
    """The bytes are no keeper file that this program can trust; the text says why."""


class KeeperFull(Exception):
    """There was no room for a new file; the old one is as it was."""


class Kept(NamedTuple):
    """One row: its versions and its value."""

    state: RowState = RowState()
    flags: int = 0
    size: int = 0
    head: bytes = b""
    payload: bytes = b""


Rows = Mapping[tuple[bytes, bytes], Kept]
"""Rows by (shard, name)."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """A row as it is stored; fields as in `Kept` and `RowState`."""

    shard: bytes
    name: bytes
    version: bytes
    promised: bytes
    earlier: tuple[bytes, ...]
    flags: int
    size: int
    head: bytes
    payload: bytes


_decode_records: Final = msgspec.msgpack.Decoder(list[_Record]).decode


def encode(rows: Rows) -> bytes:
    """The file of some rows, the same bytes for the same rows."""
    records = [
        _Record(shard, name, *kept.state, kept.flags, kept.size, kept.head, kept.payload)
        for (shard, name), kept in sorted(rows.items())
    ]
    body = msgspec.msgpack.encode(records)
    size = HEADER.size + len(body) + CHECKSUM_BYTES
    data = HEADER.pack(MAGIC, VERSION, 0, len(records), size) + body
    return data + xxh3_128_digest(data)


def decode(data: bytes) -> dict[tuple[bytes, bytes], Kept]:
    """The rows in a file's bytes. Raises KeeperFileError."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise KeeperFileError("it does not begin as a keeper file does")
    _, version, _, count, size = HEADER.unpack_from(data)
    if version != VERSION:
        raise KeeperFileError(f"its version is {version}, this program reads version {VERSION}")
    if len(data) != size:
        raise KeeperFileError(f"it has {len(data)} of {size} bytes")
    body = memoryview(data)[:-CHECKSUM_BYTES]
    if xxh3_128_digest(body) != data[-CHECKSUM_BYTES:]:
        raise KeeperFileError("its checksum is wrong")
    try:
        records = _decode_records(body[HEADER.size :])
    except (ValueError, RecursionError) as error:
        raise KeeperFileError(f"it can't be decoded: {error}") from error
    if len(records) != count:
        raise KeeperFileError(f"it has {len(records)} rows and says {count}")
    return {(record.shard, record.name): _kept(record) for record in records}


def _kept(record: _Record) -> Kept:
    state = RowState(record.version, record.promised, record.earlier)
    return Kept(state, record.flags, record.size, record.head, record.payload)


def load(path: str, disk: Disk) -> dict[tuple[bytes, bytes], Kept]:
    """The rows of the file at `path`. Raises KeeperFileError, OSError."""
    file = disk.open(path)
    try:
        data = file.pread(0, file.size())
    finally:
        file.close()
    return decode(data)


def save(rows: Rows, path: str, disk: Disk) -> None:
    """Replace the file; durable on return, and at any moment the old or the new one is there.

    Raises KeeperFull where the old one surely stays, OSError where that is not known.
    """
    temporary = path + TEMPORARY_SUFFIX
    _stage(encode(rows), temporary, disk)
    disk.rename(temporary, path)
    disk.sync_dir(path.rpartition("/")[0] or ".")


def _stage(data: bytes, temporary: str, disk: Disk) -> None:
    """Write a synced file beside the one that it is to replace."""
    try:
        _remove(temporary, disk)
        file = disk.create(temporary)
    except OSError as error:
        raise _cause(error) from error
    try:
        _fill(file, data, temporary, disk)
        file.sync()
    finally:
        file.close()


def _fill(file: DiskFile, data: bytes, temporary: str, disk: Disk) -> None:
    try:
        file.append([data])
    except OSError as error:
        _remove(temporary, disk)
        raise _cause(error) from error


def _cause(error: OSError) -> Exception:
    return KeeperFull() if error.errno in _NO_ROOM else error


def _remove(path: str, disk: Disk) -> None:
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return
