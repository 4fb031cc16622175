"""VMDK: one file that has everything in it, grown as needed or a stream. Other kinds are refused.

The descriptor is text in the second sector. Each of its lines must be one that is known, for a line can
name another file: an extent, or a parent.
"""

import re
import struct
from typing import Final, NamedTuple

from compute.image.formats.verdict import Disk, Mismatch
from compute.image.formats.window import PIECE_MAX_BYTES, Piece, Reader

SECTOR_BYTES: Final = 512
FOOTER_BYTES: Final = 3 * SECTOR_BYTES
"""A marker, the footer, and the marker of the stream's end."""

_KINDS: Final = ("monolithicsparse", "streamoptimized")
_AT_END: Final = 0xFFFF_FFFF_FFFF_FFFF
_HEADER: Final = struct.Struct("<4sIIQQQQIQQ")
_MARKER: Final = struct.Struct("<QII496s")
_FOOTER_KIND: Final = 3
_NO_PARENT: Final = "ffffffff"
_FIELD: Final = re.compile(r'([a-z0-9_.]+)\s*=\s*"?([^"]*)"?')
_EXTENT: Final = re.compile(r'(?:rw|rdonly|noaccess)\s+\d+\s+(\w+)(?:\s+"([^"]*)")?(?:\s+\d+)?')


class Header(NamedTuple):
    """What header and footer say, in sectors."""

    version: int
    capacity: int
    descriptor_at: int
    descriptor_length: int
    directory_at: int


class Vmdk(NamedTuple):
    """A VMDK up to its end, which `check_footer` judges."""

    header: Header
    disk: Disk


def vmdk() -> Reader[Vmdk]:
    """Reads header and descriptor."""
    raw = yield Piece(0, SECTOR_BYTES)
    if not raw.startswith(b"KDMV"):
        raise Mismatch("the VMDK is a kind that is not allowed")
    header = _header(raw)
    if not header.capacity:  # QEMU takes it for a mere descriptor of other files
        raise Mismatch("the VMDK is a kind that is not allowed")
    length = header.descriptor_length * SECTOR_BYTES
    if header.descriptor_at != 1 or not 0 < length <= PIECE_MAX_BYTES:
        raise Mismatch("the VMDK has no descriptor, or elsewhere")
    check_descriptor((yield Piece(SECTOR_BYTES, length)))
    return Vmdk(header, Disk(header.capacity * SECTOR_BYTES))


def _header(raw: bytes) -> Header:
    if len(raw) < _HEADER.size:
        raise Mismatch("the VMDK header is cut off")
    magic, version, _, capacity, _, at, length, _, _, directory = _HEADER.unpack_from(raw)
    if magic != b"KDMV" or version not in (1, 2, 3):
        raise Mismatch("unsupported VMDK version")
    return Header(version, capacity, at, length, directory)


def check_descriptor(raw: bytes) -> None:
    """Raises Mismatch for all but a disk in this one file."""
    try:
        text = raw.split(b"\0", 1)[0].decode("ascii").lower()
    except UnicodeDecodeError as error:
        raise Mismatch("the VMDK descriptor is no text") from error
    if text.count("createtype") != 1 or "parentfilenamehint" in text:
        # readers search the text for these words, in comments, too
        raise Mismatch("the VMDK has a parent, or not one kind")
    fields: dict[str, str] = {}
    extents = []
    for line in (line.strip() for line in re.split(r"[\r\n]+", text)):
        if not line or line.startswith("#"):
            continue
        if extent := _EXTENT.fullmatch(line):
            extents.append(extent)
        elif (field := _FIELD.fullmatch(line)) and field[1] not in fields:
            fields[field[1]] = field[2].strip()
        else:
            raise Mismatch("the VMDK descriptor has a line that is not understood")
    _check_fields(fields)
    if len(extents) != 1 or extents[0][1] != "sparse" or _leads_away(extents[0][2] or ""):
        raise Mismatch("the VMDK has extents elsewhere or of a kind that is not allowed")


def _leads_away(name: str) -> bool:
    return any(mark in name for mark in ("/", "\\", ":"))


def _check_fields(fields: dict[str, str]) -> None:
    if fields.get("createtype") not in _KINDS:
        raise Mismatch("the VMDK is a kind that is not allowed")
    if fields.get("parentcid", _NO_PARENT) != _NO_PARENT:
        raise Mismatch("the VMDK has a parent")


def check_footer(header: Header, tail: bytes) -> None:
    """What takes the header's place at the end of a stream says the same. Raises Mismatch.

    tail: the last FOOTER_BYTES of the stream.
    """
    if header.directory_at != _AT_END:
        return
    if len(tail) < FOOTER_BYTES:
        raise Mismatch("the VMDK is cut off")
    footer = _header(tail[SECTOR_BYTES:])
    if footer._replace(directory_at=_AT_END) != header or footer.directory_at == _AT_END:
        raise Mismatch("the VMDK footer says something else than its header")
    _, size, kind, rest = _MARKER.unpack_from(tail)
    if size or kind != _FOOTER_KIND or any(rest):
        raise Mismatch("the VMDK has no marker before its footer")
    if any(tail[2 * SECTOR_BYTES :]):
        raise Mismatch("the VMDK has no marker of its end")
