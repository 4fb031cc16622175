"""Taking in a body: inline where it is small, else streamed into blobs while its MD5 runs beside.

Memory is bounded whatever the body's size: one segment is being stored while the next one arrives.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.core.blob_sink import BlobSink
from proxy.core.blobs import Blobs, Owner
from proxy.core.errors import BadDigest, IncompleteBody, ObjectTooLarge, SlowBody
from proxy.core.types import OBJECT_PUT_MAX_BYTES, Blob, Body, Buffer, Policy
from runtime.tasks import Ahead
from storage.types import BLOB_MAX_BYTES, INLINE_MAX_BYTES, SEGMENT_BYTES

BODY_MAX_S: Final = 2 * 86400.0
"""A body that takes longer is given up: the collector must be able to tell an orphan from it."""


STORING_MAX: Final = 32
"""Segments of one worker that are coded and sent to devices at once: each takes up to some 10 MiB until
its devices have it. The other bodies wait, and their clients with them."""


class Taken(NamedTuple):
    """A body that was taken in whole. Either `data` holds it, or `blobs` do."""

    size_bytes: int
    md5: str
    data: bytes
    blobs: list[Blob]
    checksums: dict[str, str]


def _check_md5(actual: str, expected: str) -> None:
    if expected and actual != expected:
        raise BadDigest("md5")


class Intake:
    """Takes bodies in."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._storing = asyncio.Semaphore(STORING_MAX)

    async def take(self, body: Body, policy: Policy, owner: Owner, md5: str) -> Taken:
        """Read the whole body and store what is too large to be inline.

        The blobs are durable on return and no row names them yet: the caller writes that row, or
        deletes them. Raises BadDigest, IncompleteBody, ObjectTooLarge, Full, Unavailable, and leaves
        nothing behind then.
        """
        announced = body.size_bytes
        if announced is not None and announced > OBJECT_PUT_MAX_BYTES:
            raise ObjectTooLarge(announced, OBJECT_PUT_MAX_BYTES)
        if announced is not None and announced <= INLINE_MAX_BYTES:
            data = await body.read_all()
            if len(data) != announced:
                raise IncompleteBody(f"{len(data)} of {announced} bytes")
            return _inline(data, body, md5)
        segments = _Segments(body)
        first = await segments.next()
        if len(first) <= INLINE_MAX_BYTES:
            return _inline(bytes(first), body, md5)
        return await self._stream(segments, first, policy, owner, md5)

    async def _stream(
        self, segments: "_Segments", first: Buffer, policy: Policy, owner: Owner, md5: str
    ) -> Taken:
        writer = _Writer(self._blobs, policy, owner, self._storing)
        try:
            async with asyncio.timeout(BODY_MAX_S):
                await writer.consume(segments, first)
            digest = writer.md5.hexdigest()
            _check_md5(digest, md5)
            checksums = segments.body.finish()
            await writer.finish()
            writer.report_missing()
        except TimeoutError as error:
            await writer.give_up()
            raise SlowBody(f"the body took more than {BODY_MAX_S:.0f} s") from error
        except BaseException:
            await writer.give_up()
            raise
        return Taken(segments.size_bytes, digest, b"", writer.blobs, checksums)


def _inline(data: bytes, body: Body, md5: str) -> Taken:
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    _check_md5(digest, md5)
    return Taken(len(data), digest, data, [], body.finish())


class _Segments:
    """Cuts a body into segments, checking its announced and its greatest length."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.size_bytes = 0
        self._rest: Buffer = b""

    async def next(self) -> Buffer:
        """SEGMENT_BYTES bytes, fewer only for the last segment, b"" at the end."""
        pieces: list[Buffer] = [self._rest] if self._rest else []
        size = len(self._rest)
        self._rest = b""
        while size < SEGMENT_BYTES and (piece := await self.body.read()):
            pieces.append(piece)
            size += len(piece)
        if size > SEGMENT_BYTES:
            last = memoryview(pieces[-1])
            keep = len(last) - (size - SEGMENT_BYTES)
            pieces[-1], self._rest = last[:keep], last[keep:]
            size = SEGMENT_BYTES
        self._count(size)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _count(self, size: int) -> None:
        self.size_bytes += size
        announced = self.body.size_bytes
        if self.size_bytes > OBJECT_PUT_MAX_BYTES:
            raise ObjectTooLarge(self.size_bytes, OBJECT_PUT_MAX_BYTES)
        short = size < SEGMENT_BYTES and announced is not None and self.size_bytes < announced
        if short or (announced is not None and self.size_bytes > announced):
            raise IncompleteBody(f"{self.size_bytes} of {announced} bytes")


class _Writer:
    """Segments into blobs: MD5 and devices work on one segment while the next one arrives."""

    def __init__(self, blobs: Blobs, policy: Policy, owner: Owner, storing: asyncio.Semaphore) -> None:
        self._blobs = blobs
        self._policy = policy
        self._owner = owner
        self._storing = storing
        self._sink: BlobSink | None = None
        self._made: list[BlobSink] = []
        self._commit: Ahead[None] = Ahead("commit blob")
        self.md5 = hashlib.md5(usedforsecurity=False)

    @property
    def blobs(self) -> list[Blob]:
        """What was written, in order."""
        return [Blob(sink.blob_id, sink.size_bytes, self._policy.name) for sink in self._made]

    async def consume(self, segments: _Segments, first: Buffer) -> None:
        """Store all segments; the last blob is not committed yet."""
        segment = first
        storing: Ahead[None] = Ahead("store segment")
        async with self._commit, storing:
            while len(segment):
                storing.start(self._store(segment))
                segment = await segments.next()
                await storing.result()
            if self._commit.busy:
                await self._commit.result()

    async def _store(self, segment: Buffer) -> None:
        sink = await self._room()
        loop = asyncio.get_running_loop()
        async with self._storing:
            md5 = loop.run_in_executor(None, self.md5.update, segment)
            await asyncio.gather(md5, sink.write(segment))

    async def _room(self) -> BlobSink:
        """The present blob, or the next one where it is full."""
        if self._sink is not None and self._sink.size_bytes >= BLOB_MAX_BYTES:
            if self._commit.busy:
                await self._commit.result()
            self._commit.start(self._sink.commit())
            self._sink = None
        if self._sink is None:
            self._sink = await self._blobs.sink(self._policy, self._owner)
            self._made.append(self._sink)
        return self._sink

    async def finish(self) -> None:
        """Make the last blob durable, too."""
        if self._sink is not None:
            await self._sink.commit()

    def report_missing(self) -> None:
        """Have the copies made that a device could not take."""
        for sink in self._made:
            self._blobs.report_missing(sink)

    async def give_up(self) -> None:
        """Remove everything that was written."""
        made: Sequence[BlobSink] = self._made
        await asyncio.gather(*(sink.abort() for sink in made))
        await self._blobs.try_delete(self.blobs)
