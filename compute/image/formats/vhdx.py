"""VHDX: the region table says where the metadata is, the metadata table where the size. [MS-VHDX]"""

import struct
import uuid
from typing import Final

from compute.image.formats.verdict import Disk, Mismatch
from compute.image.formats.window import Piece, Reader

_REGIONS_AT: Final = 192 * 1024
_TABLE_BYTES: Final = 64 * 1024
_ENTRIES_MAX: Final = 2047
_REGION: Final = struct.Struct("<16sQII")
_ITEM: Final = struct.Struct("<16sIII4x")
_METADATA_MIN: Final = 1024 * 1024
"""No region begins before: the headers are there."""

_METADATA: Final = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_FILE_PARAMETERS: Final = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_DISK_SIZE: Final = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARENT_LOCATOR: Final = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_HAS_PARENT: Final = 0b10
_ITEM_BYTES: Final = 8
"""Of the file's parameters, and of the size."""


def vhdx() -> Reader[Disk]:
    """Reads both tables and the two items that matter."""
    start = _metadata_start((yield Piece(_REGIONS_AT, _TABLE_BYTES)))
    places = _places((yield Piece(start, _TABLE_BYTES)))
    values = {}
    for offset, name in sorted(places):
        values[name] = yield Piece(start + offset, _ITEM_BYTES)
        if len(values[name]) < _ITEM_BYTES:
            raise Mismatch("the VHDX is cut off")
    if struct.unpack_from("<I", values[_FILE_PARAMETERS], 4)[0] & _HAS_PARENT:
        raise Mismatch("the VHDX has a parent")
    (size,) = struct.unpack("<Q", values[_DISK_SIZE])
    return Disk(size)


def _metadata_start(table: bytes) -> int:
    """Where the metadata region is. Raises Mismatch."""
    if len(table) < _TABLE_BYTES or not table.startswith(b"regi"):
        raise Mismatch("the VHDX has no region table")
    (count,) = struct.unpack_from("<I", table, 8)
    for at in range(min(count, _ENTRIES_MAX)):
        name, offset, _, _ = _REGION.unpack_from(table, 16 + at * _REGION.size)
        if name == _METADATA and offset >= _METADATA_MIN:
            return int(offset)
    raise Mismatch("the VHDX has no metadata region")


def _places(table: bytes) -> list[tuple[int, bytes]]:
    """Where the items are, from the start of the region. Raises Mismatch."""
    if len(table) < _TABLE_BYTES or not table.startswith(b"metadata"):
        raise Mismatch("the VHDX has no metadata table")
    (count,) = struct.unpack_from("<H", table, 10)
    found: dict[bytes, int] = {}
    for at in range(min(count, _ENTRIES_MAX)):
        name, offset, _, _ = _ITEM.unpack_from(table, 32 + at * _ITEM.size)
        if name == _PARENT_LOCATOR:
            raise Mismatch("the VHDX has a parent")
        if name in (_FILE_PARAMETERS, _DISK_SIZE):
            if name in found:
                raise Mismatch("the VHDX metadata makes no sense")
            found[name] = offset
    if len(found) != 2:
        raise Mismatch("the VHDX has no size")
    return [(offset, name) for name, offset in found.items()]
