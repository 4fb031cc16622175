"""OVA: a tar archive of an OVF descriptor, then the disks that it names. [DSP0243]

Names are plain and everything named is in the archive; each disk is inspected like an image of its own.
"""

import tarfile
from collections.abc import Callable
from typing import Final, Protocol
from xml.parsers import expat

from compute.image.formats.verdict import Found, Mismatch

BLOCK_BYTES: Final = tarfile.BLOCKSIZE
DESCRIPTOR_MAX_BYTES: Final = 1024 * 1024
MEMBERS_MAX: Final = 256
_DISK_SUFFIXES: Final = (".vmdk", ".vhd", ".vhdx", ".vdi", ".qcow2", ".img", ".raw", ".iso")
_REGULAR: Final = (tarfile.REGTYPE, tarfile.AREGTYPE)


class Disk(Protocol):
    """Inspects a member."""

    def eat(self, chunk: bytes | bytearray | memoryview) -> None:
        """Raises Mismatch."""

    def finish(self) -> Found:
        """Raises Mismatch."""


class Archive:
    """Reads an archive. claimed: the format of its first disk, None for any."""

    def __init__(
        self, claimed: str | None, head: bytes, inspector: Callable[[str | None], Disk]
    ) -> None:
        if head[257:262] != b"ustar":
            raise Mismatch("Image container_format ova does not match stream data")
        self._claimed = claimed
        self._inspector = inspector
        self._block = bytearray()
        self._members = 0
        self._left = 0
        self._padding = 0
        self._descriptor: bytearray | None = None
        self._described = False
        self._disk: Disk | None = None
        self._first: Found | None = None
        self._ended = False

    def eat(self, chunk: memoryview) -> None:
        """The next bytes. Raises Mismatch."""
        while chunk and not self._ended:
            if self._left or self._padding:
                chunk = self._body(chunk)
                continue
            wanted = BLOCK_BYTES - len(self._block)
            self._block += chunk[:wanted]
            chunk = chunk[wanted:]
            if len(self._block) == BLOCK_BYTES:
                self._header(bytes(self._block))
                self._block.clear()

    def finish(self) -> Found:
        """The first disk's format and size. Raises Mismatch."""
        if not self._ended or not self._described:
            raise Mismatch("the OVA is cut off")
        if self._first is None:
            raise Mismatch("the OVA has no disk")
        return Found(self._first.disk_format, self._first.virtual_size_bytes, "ova")

    def _body(self, chunk: memoryview) -> memoryview:
        """Eat of a member and what fills its last block; what is left of the chunk."""
        part, rest = chunk[: self._left], chunk[self._left :]
        if self._descriptor is not None:
            self._descriptor += part
        if self._disk is not None:
            self._disk.eat(part)
        self._left -= len(part)
        if self._left == 0:
            self._member_ends()
            skipped = min(self._padding, len(rest))
            self._padding -= skipped
            rest = rest[skipped:]
        return rest

    def _header(self, block: bytes) -> None:
        """Raises Mismatch."""
        if not any(block):
            self._ended = True
            return
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
            raise Mismatch("the OVA is no proper archive") from error
        self._members += 1
        name = member.name.removeprefix("./")
        if member.type not in _REGULAR or "/" in name or "\\" in name or member.size < 0:
            raise Mismatch("the OVA has a member that is not allowed")
        if self._members > MEMBERS_MAX:
            raise Mismatch("the OVA has too many members")
        self._left, self._padding = member.size, -member.size % BLOCK_BYTES
        self._member_begins(name.lower(), member.size)

    def _member_begins(self, name: str, size: int) -> None:
        if self._members == 1:
            if not name.endswith(".ovf") or not 0 < size <= DESCRIPTOR_MAX_BYTES:
                raise Mismatch("the OVA does not begin with its descriptor")
            self._descriptor = bytearray()
        elif name.endswith(_DISK_SUFFIXES):
            self._disk = self._inspector(self._claimed if self._first is None else None)
            if size == 0:
                self._member_ends()

    def _member_ends(self) -> None:
        if self._descriptor is not None:
            check_descriptor(bytes(self._descriptor))
            self._descriptor, self._described = None, True
        if self._disk is not None:
            found = self._disk.finish()
            self._first, self._disk = self._first or found, None


def check_descriptor(raw: bytes) -> None:
    """An OVF envelope whose files are all in the archive. Raises Mismatch."""
    roots: list[str] = []

    def element(name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if not roots:
            roots.append(local)
        href = next((v for k, v in attributes.items() if k.rpartition(" ")[2] == "href"), "")
        if local == "File" and any(mark in href for mark in ("/", "\\", ":")):
            raise Mismatch("the OVA names a file elsewhere")

    def doctype(*_: object) -> None:
        raise Mismatch("the OVF descriptor has a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = element
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise Mismatch("the OVF descriptor is no XML") from error
    if roots != ["Envelope"]:
        raise Mismatch("the OVF descriptor has no envelope")
