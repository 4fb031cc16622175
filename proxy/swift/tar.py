"""Tar archives read as a stream: headers by the standard library, bodies as they arrive.

Formats: ustar, GNU (long names) and pax (POSIX.1-2001), as `tar` and Python write them. Nothing is
unpacked to a disk, so names need no defence here; what they may be called is `archive.py`'s to say.
"""

import tarfile
from typing import Final, NamedTuple

from proxy.swift.byte_source import PIECE_MAX_BYTES, ByteSource

BLOCK_BYTES: Final = 512
EXTENSION_MAX_BYTES: Final = 1024 * 1024
"""The longest pax header or GNU long name that is read."""

_XATTR: Final = "SCHILY.xattr."
_MIME_TYPE: Final = _XATTR + "user.mime_type"
_META: Final = _XATTR + "user.meta."


class BadArchive(Exception):
    """The bytes are no tar archive, or end within it."""


class Entry(NamedTuple):
    """One entry. regular: a file with content of its own, no link, folder or device.

    media_type, meta: from the extended attributes user.mime_type and user.meta.*, as Swift reads them.
    """

    name: str
    size_bytes: int
    regular: bool
    media_type: str
    meta: dict[str, str]


class EntryBody:
    """The content of one entry, as a `proxy.core.types.Body`."""

    def __init__(self, source: ByteSource, size_bytes: int) -> None:
        self.size_bytes: int | None = size_bytes
        self._source = source
        self.left = size_bytes

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises BadArchive where the archive ends within it."""
        if not self.left:
            return b""
        piece = await self._source.some(min(self.left, PIECE_MAX_BYTES))
        if not piece:
            raise BadArchive("unexpected end of data")
        self.left -= len(piece)
        return piece

    async def read_all(self) -> bytes:
        """The whole content; for small ones."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def finish(self) -> dict[str, str]:
        """An archive promises no checksums that the store keeps."""
        return {}


class TarReader:
    """The entries of an archive, one after the other."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._body = EntryBody(source, 0)
        self._padding = 0
        self._defaults: dict[str, str] = {}

    @property
    def body(self) -> EntryBody:
        """The content of the entry that `next_entry` gave."""
        return self._body

    async def next_entry(self) -> Entry | None:
        """The next entry, after what is left of the last; None at the end. Raises BadArchive."""
        await self._skip(self._body.left + self._padding)
        pax = dict(self._defaults)
        while (header := await self._header()) is not None:
            if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                pax.update(parse_pax(await self._extension(header.size)))
            elif header.type == tarfile.XGLTYPE:
                self._defaults.update(parse_pax(await self._extension(header.size)))
                pax = {**self._defaults, **pax}
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                name = (await self._extension(header.size)).split(b"\0", 1)[0]
                pax["path"] = name.decode("utf-8", "surrogateescape")
            elif header.type == tarfile.GNUTYPE_LONGLINK:
                await self._extension(header.size)
            else:
                return self._begin(header, pax)
        return None

    async def _header(self) -> tarfile.TarInfo | None:
        block = await self._source.exactly(BLOCK_BYTES)
        if not block.strip(b"\0"):
            return None  # a zero block, or no block at all, is the end
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise BadArchive(str(error)) from error
        if header.size < 0:
            raise BadArchive("a size is negative")
        return header

    def _begin(self, header: tarfile.TarInfo, pax: dict[str, str]) -> Entry:
        regular = header.isreg() and header.type != tarfile.GNUTYPE_SPARSE
        has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        size_bytes = _pax_size(pax, header.size) if has_content else 0
        self._body = EntryBody(self._source, size_bytes)
        self._padding = -size_bytes % BLOCK_BYTES
        meta = {key[len(_META) :]: value for key, value in pax.items() if key.startswith(_META)}
        name = pax.get("path", header.name)
        return Entry(name, size_bytes, regular, pax.get(_MIME_TYPE, ""), meta)

    async def _extension(self, size_bytes: int) -> bytes:
        if size_bytes > EXTENSION_MAX_BYTES:
            raise BadArchive(f"an extended header is longer than {EXTENSION_MAX_BYTES} bytes")
        data = await self._source.exactly(size_bytes)
        if len(data) < size_bytes:
            raise BadArchive("unexpected end of data")
        await self._skip(-size_bytes % BLOCK_BYTES)
        return data

    async def _skip(self, size_bytes: int) -> None:
        if await self._source.skip(size_bytes) < size_bytes:
            raise BadArchive("unexpected end of data")


def _pax_size(pax: dict[str, str], size_bytes: int) -> int:
    text = pax.get("size", "")
    if not text:
        return size_bytes
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadArchive("a pax size is not a number")
    return int(text)


def parse_pax(data: bytes) -> dict[str, str]:
    """The records of a pax header, `length SP keyword = value LF` each. Raises BadArchive."""
    records: dict[str, str] = {}
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 20].partition(b" ")
        if not space or not digits.isdigit():
            raise BadArchive("a pax record has no length")
        end = position + int(digits)
        record = data[position + len(digits) + 1 : end]
        keyword, equals, value = record.partition(b"=")
        if end > len(data) or not equals or not value.endswith(b"\n"):
            raise BadArchive("a pax record is broken")
        records[keyword.decode("utf-8", "surrogateescape")] = value[:-1].decode(
            "utf-8", "surrogateescape"
        )
        position = end
    return records
