"""VDI, VirtualBox's. A difference to a parent is refused."""

import struct
from typing import Final

from compute.image.formats.verdict import Disk, Mismatch
from compute.image.formats.window import Piece, Reader

_HEADER_BYTES: Final = 512
_VERSION: Final = 0x0001_0001
_DYNAMIC: Final = 1
_STATIC: Final = 2


def vdi() -> Reader[Disk]:
    """Reads the header."""
    header = yield Piece(0, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise Mismatch("the VDI header is cut off")
    (version,) = struct.unpack_from("<I", header, 0x44)
    (kind,) = struct.unpack_from("<I", header, 0x4C)
    (size,) = struct.unpack_from("<Q", header, 0x170)
    if version != _VERSION:
        raise Mismatch("unsupported VDI version")
    if kind not in (_DYNAMIC, _STATIC):
        raise Mismatch("the VDI is a kind that is not allowed")
    if any(header[424:456]):  # the UUIDs of what it links to and of its parent
        raise Mismatch("the VDI has a parent")
    return Disk(size)
