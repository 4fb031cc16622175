"""VHD: a dynamic one begins with a copy of its footer, a fixed one is raw bytes and a footer."""

import struct
from typing import Final

from compute.image.formats.verdict import Disk, Mismatch
from compute.image.formats.window import Piece, Reader

FOOTER_BYTES: Final = 512
_COOKIE: Final = b"conectix"
_FIXED: Final = 2
_DYNAMIC: Final = 3
_DIFFERENCE: Final = 4


def vhd() -> Reader[Disk]:
    """Reads the copy of the footer and the header of a dynamic one."""
    footer = yield Piece(0, FOOTER_BYTES)
    size, kind = _fields(footer)
    if kind == _DIFFERENCE:
        raise Mismatch("the VHD has a parent")
    if kind != _DYNAMIC:
        raise Mismatch("the VHD is a kind that is not allowed")
    (header_at,) = struct.unpack_from(">Q", footer, 16)
    if header_at < FOOTER_BYTES:
        raise Mismatch("the VHD header makes no sense")
    header = yield Piece(header_at, 8)
    if header != b"cxsparse":
        raise Mismatch("the VHD has no header of a dynamic disk")
    return Disk(size)


def fixed_vhd(footer: bytes, total_bytes: int) -> Disk:
    """A fixed VHD by its last sector. Raises Mismatch."""
    if not footer.startswith(_COOKIE):
        raise Mismatch("there is no VHD header and no VHD footer")
    size, kind = _fields(footer)
    if kind != _FIXED or size + FOOTER_BYTES > total_bytes:
        raise Mismatch("the VHD footer makes no sense")
    return Disk(size)


def _fields(footer: bytes) -> tuple[int, int]:
    """The disk's size in bytes and its kind."""
    if len(footer) < FOOTER_BYTES:
        raise Mismatch("the VHD is cut off")
    (size,) = struct.unpack_from(">Q", footer, 48)
    (kind,) = struct.unpack_from(">I", footer, 60)
    return size, kind
