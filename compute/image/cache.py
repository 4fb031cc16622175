"""Copies of images on this host's disk, so that what is read often need not come from the object store.

Only what an operator asks for is copied; the least recently read goes when room is needed. A file is
named by where its bytes came from, not by the image alone: an image that was deleted and made again
under its id is another file. What is lost is only time, so nothing is synced.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from compute.image.transfer import BLOCK_BYTES, pieces_of, read
from compute.objects.contract import ObjectStore
from compute.objects.errors import NoSuchObject, StoreAway, StoreRefused
from compute.volume.drivers.contract import Piece

QUEUED_MAX: Final = 1000
_PART: Final = ".part"

log = logging.getLogger("atoll.cloud.image")


class Source(NamedTuple):
    """An image's bytes in the object store."""

    image_id: str
    prefix: str
    pieces: tuple[Piece, ...]
    size_bytes: int

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return self.prefix.strip("/").replace("/", ".")


class Cached(NamedTuple):
    """A file of the cache. Times in seconds since the Unix epoch."""

    image_id: str
    size_bytes: int
    read_s: float
    written_s: float
    hits: int


def source(image_id: str, container: str, prefix: str, parts: list[list[str | int]]) -> Source:
    """Of a copy of an image."""
    return Source(image_id, prefix, pieces_of(container, parts), sum(int(size) for _, size in parts))


def leaving(files: list[tuple[str, int, float]], room_bytes: int) -> list[str]:
    """Which of (name, size, when read) must go for so much to be left: the oldest. Pure."""
    total, found = sum(size for _, size, _ in files), []
    for name, size, _ in sorted(files, key=lambda each: each[2]):
        if total <= room_bytes:
            break
        found.append(name)
        total -= size
    return found


class Cache:
    """One per process, whose folder is its own. limit_bytes: of all files, 0 for no cache."""

    def __init__(
        self, folder: str, limit_bytes: int, objects: ObjectStore, now_us: Callable[[], int]
    ) -> None:
        self._now_us = now_us
        self._folder = Path(folder)
        self.limit_bytes = limit_bytes
        self._objects = objects
        self._queued: dict[str, Source] = {}
        self._hits: dict[str, int] = {}
        self._wanted = asyncio.Event()

    @property
    def queued(self) -> list[str]:
        """Images that wait, the one that is being copied first."""
        return list(self._queued)

    def queue(self, wanted: Source) -> bool:
        """Copy it in when its turn comes; False where it can't be."""
        if wanted.size_bytes > self.limit_bytes or len(self._queued) >= QUEUED_MAX:
            return False
        self._queued[wanted.image_id] = wanted
        self._wanted.set()
        return True

    def unqueue(self, image_id: str) -> bool:
        """Not any more; False where it does not wait."""
        return self._queued.pop(image_id, None) is not None

    def unqueue_all(self) -> None:
        """None waits any more."""
        self._queued.clear()

    async def run(self) -> None:
        """Until cancelled: copy what waits."""
        await asyncio.to_thread(self._clean)
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._queued:
                wanted = next(iter(self._queued.values()))
                try:
                    await self._fill(wanted)
                except (StoreAway, StoreRefused, NoSuchObject, OSError) as error:
                    log.warning("image %s is not cached: %s", wanted.image_id, error)
                self._queued.pop(wanted.image_id, None)

    def _clean(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._folder.glob(f"*{_PART}"):
            left.unlink(missing_ok=True)

    async def _fill(self, wanted: Source) -> None:
        target = self._folder / wanted.file
        if await asyncio.to_thread(target.exists):
            return
        await asyncio.to_thread(self._make_room, wanted.size_bytes)
        part = target.with_name(target.name + _PART)
        chunks = read(self._objects, wanted.pieces)
        try:
            with await asyncio.to_thread(part.open, "wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            if wanted.image_id in self._queued:  # nobody has taken it back meanwhile
                await asyncio.to_thread(part.rename, target)
        finally:
            part.unlink(missing_ok=True)
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def _make_room(self, size_bytes: int) -> None:
        files = [(name, each.size_bytes, each.read_s) for name, each in self._files().items()]
        for name in leaving(files, self.limit_bytes - size_bytes):
            self._remove(name)

    def _files(self) -> dict[str, Cached]:
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.endswith(_PART):
                    told = entry.stat()
                    image_id = entry.name.partition(".")[0]
                    hits = self._hits.get(entry.name, 0)
                    found[entry.name] = Cached(
                        image_id, told.st_size, told.st_atime, told.st_mtime, hits
                    )
        return found

    def _remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        self._hits.pop(name, None)

    def listed(self) -> list[Cached]:
        """What is there. On a thread."""
        return list(self._files().values())

    def drop(self, image_id: str) -> bool:
        """Delete an image's files; False where there are none. On a thread."""
        names = [name for name, each in self._files().items() if each.image_id == image_id]
        for name in names:
            self._remove(name)
        return bool(names)

    def drop_all(self) -> None:
        """Delete all. On a thread."""
        for name in self._files():
            self._remove(name)

    async def find(self, wanted: Source) -> BinaryIO | None:
        """The file of an image, opened, if it is there."""
        if self.limit_bytes == 0:
            return None
        try:
            return await asyncio.to_thread(self._open, wanted.file)
        except FileNotFoundError:
            return None

    def _open(self, name: str) -> BinaryIO:
        path = self._folder / name
        file = path.open("rb")
        self._hits[name] = self._hits.get(name, 0) + 1
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, and still readable here
            os.utime(path, (self._now_us() / 1e6, os.stat(file.fileno()).st_mtime))
        return file


async def read_file(file: BinaryIO, offset: int, length: int) -> AsyncIterator[bytes]:
    """A range of a file, which is closed at the end."""
    try:
        await asyncio.to_thread(file.seek, offset)
        while length > 0 and (block := await asyncio.to_thread(file.read, min(BLOCK_BYTES, length))):
            length -= len(block)
            yield block
    finally:
        file.close()
