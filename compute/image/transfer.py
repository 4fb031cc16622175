"""Bytes on their way into the object store and out of it: in one pass, a few blocks at a time.

Hashes and inspection run on a thread while the block before goes out, so memory and time do not depend
on an image's size.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from compute.image.formats.inspect import Found, Inspector, Mismatch
from compute.image.settings import SEGMENT_BYTES
from compute.objects.contract import ObjectStore
from compute.volume.drivers.contract import Piece

BLOCK_BYTES: Final = 1024 * 1024
HASH_ALGORITHM: Final = "sha512"


class TooMuch(Exception):
    """There are more bytes than an image may have."""


class Written(NamedTuple):
    """What was written. parts: names and sizes of the objects. found: what was inspected, if it was."""

    parts: list[list[Any]]
    size_bytes: int
    checksum: str
    hash_value: str
    found: Found | None


class _Source:
    """Blocks of a stream, each hashed and inspected before the next one is handed out.

    with_md5: False where the store tells it, of the one object that there will be.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        inspector: Inspector | None,
        size_max_bytes: int,
        *,
        with_md5: bool,
    ) -> None:
        self._chunks = chunks
        self._inspector = inspector
        self._size_max = size_max_bytes
        self._held: list[bytes] = []
        self._md5 = hashlib.md5()
        self._with_md5 = with_md5
        self._hash = hashlib.new(HASH_ALGORITHM)
        self.size_bytes = 0
        self.taken_bytes = 0
        self._judging: asyncio.Task[None] | None = None

    async def has_more(self) -> bool:
        """Whether another block comes."""
        if not self._held:
            self._held = await self._next()
        return bool(self._held)

    async def segment(self) -> AsyncIterator[bytes]:
        """The bytes of one object. Raises Mismatch, TooMuch, and what the stream raises."""
        room = SEGMENT_BYTES
        while room > 0 and await self.has_more():
            block, self._held = self._held, []
            await self._judged()
            self._judging = asyncio.create_task(
                asyncio.to_thread(self._judge, block), name="image hashes"
            )
            for chunk in block:
                yield chunk
                room -= len(chunk)
                self.taken_bytes += len(chunk)
        await self._judged()

    async def _judged(self) -> None:
        """Wait for the block before: it is judged while it goes out and the next one comes in."""
        judging, self._judging = self._judging, None
        if judging is not None:
            await judging

    async def close(self) -> None:
        """Nothing is left running, whatever broke off."""
        with contextlib.suppress(Mismatch):
            await self._judged()

    def _judge(self, block: list[bytes]) -> None:
        for chunk in block:
            self._hash.update(chunk)
            if self._with_md5:
                self._md5.update(chunk)
            if self._inspector is not None:
                self._inspector.eat(chunk)

    async def _next(self) -> list[bytes]:
        """A block's chunks, as they came; fewer at the end. A segment ends with a chunk."""
        gathered: list[bytes] = []
        size = 0
        while size < BLOCK_BYTES:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                break
            if chunk:
                gathered.append(chunk)
                size += len(chunk)
        self.size_bytes += size
        if self.size_bytes > self._size_max:
            raise TooMuch
        return gathered

    def digests(self) -> tuple[str, str]:
        """MD5 and SHA-512, in hex."""
        return self._md5.hexdigest(), self._hash.hexdigest()


async def write(
    objects: ObjectStore,
    container: str,
    prefix: str,
    chunks: AsyncIterator[bytes],
    inspector: Inspector | None,
    size_max_bytes: int,
    size_bytes: int | None = None,
) -> Written:
    """Store a stream below a prefix. What is there when it raises is the caller's to delete.

    size_bytes: of the stream, where that is sure: it raises if there are more. What fits
    into one object has the MD5 that the store answers, and is not hashed with it here.

    Raises Mismatch, TooMuch, StoreAway, StoreRefused, and what the stream raises.
    """
    is_one = size_bytes is not None and 0 < size_bytes <= SEGMENT_BYTES
    source = _Source(chunks, inspector, size_max_bytes, with_md5=not is_one)
    parts: list[list[Any]] = []
    checksum = ""
    try:
        while await source.has_more():
            if is_one and parts:
                raise ConnectionError("more bytes came than were announced")
            name = f"{prefix}{len(parts):06d}"
            size = size_bytes if is_one else None
            stored = await objects.put(container, name, source.segment(), size=size)
            parts.append([name, source.taken_bytes - sum(part[1] for part in parts)])
            checksum = stored.etag
    finally:
        await source.close()
    found = inspector.finish() if inspector is not None else None
    md5, hash_value = source.digests()
    return Written(parts, source.size_bytes, checksum if is_one else md5, hash_value, found)


def pieces_of(container: str, parts: Sequence[Sequence[Any]]) -> tuple[Piece, ...]:
    """Where bytes are, of a copy."""
    return tuple(Piece(container, name, 0, size) for name, size in parts)


def cut(pieces: Sequence[Piece], offset: int, length: int) -> list[Piece]:
    """The pieces of a range."""
    found, at, end = [], 0, offset + length
    for piece in pieces:
        start, stop = max(offset, at), min(end, at + piece.length)
        if start < stop:
            found.append(piece._replace(offset=piece.offset + start - at, length=stop - start))
        at += piece.length
    return found


async def read(objects: ObjectStore, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    """The bytes. Raises StoreAway, NoSuchObject."""
    for piece in pieces:
        async with objects.stream(piece.container, piece.name, piece.offset, piece.length) as found:
            async for chunk in found.chunks():
                yield chunk
