"""An object opened for reading: inline, in blobs, or made of other objects (SLO, DLO)."""

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple, Protocol

import msgspec

from proxy.core.blob_source import BlobSource, windows
from proxy.core.blobs import Blobs
from proxy.core.errors import BadReference, NoSuchContainer, NoSuchObject
from proxy.core.types import Blob, Container, ListQuery, ObjectInfo, ObjectPage, Part, Reference
from runtime.tasks import Ahead

REFERENCE_DEPTH_MAX: Final = 10
"""How deep manifests may name manifests."""

DLO_SEGMENTS_MAX: Final = 100_000


class Opener(Protocol):
    """What an opened manifest needs to follow its references."""

    async def container(self, account: str, name: str) -> Container:
        """Raises NoSuchContainer."""

    async def open(self, container: Container, name: str, depth: int) -> "Opened":
        """Raises NoSuchObject, BadReference."""

    async def list_objects(self, container: Container, query: ListQuery) -> ObjectPage:
        """A page of objects."""


class _Window(NamedTuple):
    """A range of one blob that is read at a time."""

    blob: Blob
    offset: int
    length: int


class Opened:
    """Keeps the `OpenObject` contract. depth: how many manifests led here."""

    def __init__(
        self,
        account: str,
        info: ObjectInfo,
        inline: bytes | None,
        parts: list[Part],
        blobs: Blobs,
        opener: Opener,
        depth: int,
    ) -> None:
        self.info = info
        self.inline = inline
        self.parts = parts
        self._account = account
        self._blobs = blobs
        self._opener = opener
        self._depth = depth
        self._sources: dict[bytes, BlobSource] = {}

    def close(self) -> None:
        """Let go of open blobs. Idempotent."""
        sources, self._sources = self._sources, {}
        for source in sources.values():
            source.close()

    async def stream(self, offset: int, length: int) -> AsyncGenerator[memoryview, None]:
        """See `OpenObject.stream`."""
        if self.inline is not None:
            yield memoryview(self.inline)[offset : offset + length]
            return
        for part, low, high in _overlaps(self.parts, offset, length):
            if part.reference is not None:
                async with aclosing(self._referenced(part, part.reference, low, high)) as views:
                    async for view in views:
                        yield view
            elif part.data:
                yield memoryview(part.data)[low:high]
            else:
                async with aclosing(self._from_blobs(part.blobs, low, high)) as views:
                    async for view in views:
                        yield view

    async def _from_blobs(
        self, blobs: list[Blob], low: int, high: int
    ) -> AsyncGenerator[memoryview, None]:
        """A part's bytes [low, high); the next window is read while this one is being sent."""
        ahead: Ahead[list[memoryview]] = Ahead("read window")
        async with ahead:
            windows = self._windows(blobs, low, high)
            window = next(windows, None)
            if window is not None:
                ahead.start(self._read(window))
            while window is not None:
                views = await ahead.result()
                following = next(windows, None)
                if following is not None:
                    ahead.start(self._read(following))
                for view in views:
                    yield view
                if following is None or following.blob is not window.blob:
                    self._release(window.blob)
                window = following

    def _windows(self, blobs: list[Blob], low: int, high: int) -> Iterator[_Window]:
        base = 0
        for blob in blobs:
            start, stop = max(low - base, 0), min(high - base, blob.size_bytes)
            if start < stop:
                for at, count in windows(start, stop - start):
                    yield _Window(blob, at, count)
            base += blob.size_bytes

    def _source(self, blob: Blob) -> BlobSource:
        source = self._sources.get(blob.id)
        if source is None:
            source = self._sources[blob.id] = self._blobs.source(blob)
        return source

    async def _read(self, window: _Window) -> list[memoryview]:
        return await self._source(window.blob).read(window.offset, window.length)

    def _release(self, blob: Blob) -> None:
        source = self._sources.pop(blob.id, None)
        if source is not None:
            source.close()

    async def _referenced(
        self, part: Part, reference: Reference, low: int, high: int
    ) -> AsyncGenerator[memoryview, None]:
        if self._depth >= REFERENCE_DEPTH_MAX:
            raise BadReference("manifests are nested too deeply")
        try:
            container = await self._opener.container(self._account, reference.container)
            opened = await self._opener.open(container, reference.name, self._depth + 1)
        except (NoSuchContainer, NoSuchObject) as error:
            raise BadReference(f"{reference.container}/{reference.name} is gone") from error
        try:
            head = opened.info.head
            changed = reference.etag and reference.etag not in (head.etag, head.manifest_etag)
            if changed or head.size_bytes < reference.offset + part.size_bytes:
                raise BadReference(f"{reference.container}/{reference.name} has changed")
            async with aclosing(opened.stream(reference.offset + low, high - low)) as views:
                async for view in views:
                    yield view
        finally:
            opened.close()


def _overlaps(parts: list[Part], offset: int, length: int) -> Iterator[tuple[Part, int, int]]:
    """The parts that a range touches, with the range within each: (part, low, high)."""
    base = 0
    for part in parts:
        low, high = max(offset - base, 0), min(offset + length - base, part.size_bytes)
        if low < high:
            yield part, low, high
        base += part.size_bytes
        if base >= offset + length:
            return


async def dynamic_parts(opener: Opener, account: str, target: str) -> list[Part]:
    """What a DLO consists of now: the objects under "container/prefix", in order."""
    name, _, prefix = target.partition("/")
    try:
        container = await opener.container(account, name)
    except NoSuchContainer:
        return []
    parts: list[Part] = []
    marker, more = "", True
    while more:
        page = await opener.list_objects(
            container, ListQuery(prefix=prefix, marker=marker, limit=10_000)
        )
        for entry in page.entries:
            if isinstance(entry, ObjectInfo):
                head = entry.head
                reference = Reference(name, entry.name, head.etag, 0, -1)
                parts.append(Part(len(parts) + 1, head.size_bytes, head.etag, reference=reference))
        if len(parts) > DLO_SEGMENTS_MAX:
            raise BadReference(f"more than {DLO_SEGMENTS_MAX} segments")
        marker, more = page.next_marker, page.truncated
    return parts


def dynamic_info(info: ObjectInfo, parts: list[Part]) -> ObjectInfo:
    """A DLO's info with the size and ETag of what it consists of."""
    joined = "".join(part.etag for part in parts).encode()
    head = msgspec.structs.replace(
        info.head,
        size_bytes=sum(part.size_bytes for part in parts),
        etag=hashlib.md5(joined, usedforsecurity=False).hexdigest(),
        manifest_etag=info.head.etag,
    )
    return ObjectInfo(info.name, head, info.version)
