"""The `file` driver: volumes as raw, sparse files in a folder of one host.

Every file stands for itself: snapshots, clones and volumes from images are copies, which share their
blocks where the file system can do that (XFS, Btrfs) and are sparse elsewhere. A chain of files that
stand on each other would make a snapshot cheap on every file system, but its deletion a copy that must
be right while a guest writes; here it is `unlink`. A copy of an open volume is of one moment.

Disks are exported by the process itself, as those of `ring` are: nothing runs on when it ends. One
process has the folder, by a lock of the kernel's. `changed` can't tell: files keep no record of it.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Final

from compute.nbd.server import NbdServer
from compute.volume.drivers.contract import Connection, Disk, Extent, Found, ImageSource, Usage
from compute.volume.drivers.errors import BadSource, Busy
from compute.volume.drivers.file import sparse
from compute.volume.drivers.file.disk import FileDisk
from compute.volume.drivers.file.folder import Folder
from compute.volume.drivers.file.threads import on_thread

RAW: Final = frozenset({"raw", "iso", "ami", "aki", "ari"})
"""Formats whose file is the disk itself."""
HOLE_BYTES: Final = 64 * 1024


class FileDriver:
    """start: before anything else, raises Busy; close: at the end."""

    def __init__(self, name: str, path: str, nbd: NbdServer) -> None:
        self.name = name
        self._folder = Folder(path)
        self._nbd = nbd
        self._open: dict[str, FileDisk] = {}
        self._users: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._writable: set[str] = set()
        self._attached: dict[str, contextlib.AsyncExitStack] = {}

    async def start(self) -> None:
        """Take the folder."""
        await on_thread(self._folder.take)

    async def close(self) -> None:
        """End all exports and let go of the folder."""
        for attachment_id in list(self._attached):
            await self._end(attachment_id)
        self._folder.leave()

    # -- volumes --

    async def create(self, volume_id: str, size_bytes: int) -> None:
        """A file that is one hole."""
        if await self.exists(volume_id):
            return
        async with self._begun(self._folder.volume(volume_id)) as fd:
            os.ftruncate(fd, size_bytes)

    async def create_from_snapshot(self, volume_id: str, snapshot_id: str, size_bytes: int) -> None:
        """A copy of the snapshot's file."""
        path = await on_thread(self._folder.found_snapshot, snapshot_id)
        disk = await FileDisk.opened(path, writable=False)
        try:
            await self._copied(disk, self._folder.volume(volume_id), size_bytes)
        finally:
            await disk.close()

    async def clone(self, volume_id: str, source_id: str, size_bytes: int) -> None:
        """A copy of the source's file as it is now."""
        async with self._disk(source_id) as source:
            await self._copied(source, self._folder.volume(volume_id), size_bytes)

    async def create_from_image(self, volume_id: str, image: ImageSource, size_bytes: int) -> None:
        """Zeroes of the image become holes. Raises BadSource for formats to be converted before."""
        if image.disk_format not in RAW:
            raise BadSource(f"an image of format {image.disk_format} can't be a volume as it is")
        if await self.exists(volume_id):
            return
        async with self._begun(self._folder.volume(volume_id)) as fd:
            at = 0
            async for chunk in image.open():
                if at + len(chunk) > size_bytes:
                    raise BadSource("the image is larger than the volume")
                await on_thread(_write_data, fd, at, chunk)
                at += len(chunk)
            await on_thread(os.ftruncate, fd, size_bytes)

    async def _copied(self, source: FileDisk, path: str, size_bytes: int = 0) -> None:
        """A copy, at least as large. What is there already stays."""
        if await on_thread(os.path.exists, path):
            return
        async with self._begun(path) as fd:
            await source.copy(fd)
            await on_thread(os.ftruncate, fd, max(size_bytes, os.fstat(fd).st_size))

    @contextlib.asynccontextmanager
    async def _begun(self, path: str) -> AsyncIterator[int]:
        """As the folder has it, with what takes long on a thread."""
        file = self._folder.begun(path)
        fd = file.__enter__()  # not on a thread: who is cancelled meanwhile would never end it
        try:
            yield fd
        except BaseException as error:
            with contextlib.suppress(type(error)):
                file.__exit__(type(error), error, error.__traceback__)
            raise
        await on_thread(file.__exit__, None, None, None)

    async def adopt(self, volume_id: str, name: str) -> None:
        """Its file gets another name."""
        if await self.exists(volume_id):
            return
        async with self._idle(name):
            if await on_thread(self._folder.has_snapshots, name):
                raise Busy(f"volume {name} has snapshots")
            await on_thread(self._folder.rename, name, volume_id)

    async def found(self) -> list[Found]:
        """The folder's files."""
        return await on_thread(self._folder.found)

    async def delete(self, volume_id: str) -> None:
        """Its file goes, unless someone uses it."""
        async with self._idle(volume_id):
            if await on_thread(self._folder.has_snapshots, volume_id):
                raise Busy(f"volume {volume_id} has snapshots")
            await on_thread(self._folder.remove, self._folder.volume(volume_id))

    async def extend(self, volume_id: str, size_bytes: int) -> None:
        """Grow; exports of it see it at once."""
        async with self._disk(volume_id) as disk:
            await disk.resize(size_bytes)

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """A copy of the snapshot takes the file's place; the volume keeps its size."""
        async with self._idle(volume_id):
            path = self._folder.volume(volume_id)
            size = await on_thread(os.path.getsize, path) if await self.exists(volume_id) else 0
            kept = await FileDisk.opened(self._folder.snapshot(snapshot_id, volume_id), writable=False)
            try:
                async with self._begun(path) as fd:
                    await kept.copy(fd)
                    await on_thread(os.ftruncate, fd, max(size, kept.size_bytes))
            finally:
                await kept.close()

    async def exists(self, volume_id: str) -> bool:
        """Whether its file is here."""
        return await on_thread(os.path.exists, self._folder.volume(volume_id))

    async def keeps_image(self, volume_id: str) -> bool:
        """Images are copied."""
        return False

    async def usage(self) -> Usage:
        """The file system's, as far as this user may fill it."""
        found = await on_thread(os.statvfs, self._folder.path)
        return Usage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    # -- snapshots --

    async def snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """A copy of the volume's file as it is now."""
        async with self._disk(volume_id) as disk:
            await self._copied(disk, self._folder.snapshot(snapshot_id, volume_id))

    async def delete_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        """Its file goes; who reads it reads on."""
        await on_thread(self._folder.remove, self._folder.snapshot(snapshot_id, volume_id))

    async def changed(
        self, snapshot_id: str, older_snapshot_id: str, volume_id: str
    ) -> Sequence[Extent] | None:
        """None: files keep no record of it."""
        return None

    # -- opening --

    @contextlib.asynccontextmanager
    async def open(self, volume_id: str, *, writable: bool) -> AsyncIterator[Disk]:
        """One who writes at a time; who reads sees what is written."""
        if writable and volume_id in self._writable:
            raise Busy(f"volume {volume_id} is in use")
        if writable:
            self._writable.add(volume_id)
        try:
            async with self._disk(volume_id) as disk:
                yield disk
        finally:
            if writable:
                self._writable.discard(volume_id)

    @contextlib.asynccontextmanager
    async def open_snapshot(self, snapshot_id: str, volume_id: str) -> AsyncIterator[Disk]:
        """Read a snapshot."""
        disk = await FileDisk.opened(self._folder.snapshot(snapshot_id, volume_id), writable=False)
        try:
            yield disk
        finally:
            await disk.close()

    @contextlib.asynccontextmanager
    async def _disk(self, volume_id: str) -> AsyncIterator[FileDisk]:
        """The open file, shared within the process: a copy must see every write."""
        lock = self._locks.setdefault(volume_id, asyncio.Lock())
        async with lock:
            if volume_id not in self._open:
                path = self._folder.volume(volume_id)
                self._open[volume_id] = await FileDisk.opened(path, writable=True)
            self._users[volume_id] = self._users.get(volume_id, 0) + 1
        try:
            yield self._open[volume_id]
        finally:
            async with lock:
                self._users[volume_id] -= 1
                if not self._users[volume_id]:
                    del self._users[volume_id]
                    await self._open.pop(volume_id).close()

    @contextlib.asynccontextmanager
    async def _idle(self, volume_id: str) -> AsyncIterator[None]:
        """Nobody has it open, nor opens it within the block. Raises Busy."""
        async with self._locks.setdefault(volume_id, asyncio.Lock()):
            if volume_id in self._open:
                raise Busy(f"volume {volume_id} is in use")
            yield

    # -- exports --

    async def attach(self, volume_id: str, attachment_id: str, *, read_only: bool) -> Connection:
        """Export it over NBD under the attachment's id. Attaching again is no error."""
        if attachment_id not in self._attached:
            stack = contextlib.AsyncExitStack()
            disk = await stack.enter_async_context(self.open(volume_id, writable=not read_only))
            self._nbd.add(attachment_id, disk, read_only=read_only)
            self._attached[attachment_id] = stack
        return Connection("nbd", {"export": attachment_id, **self._nbd.address()})

    async def detach(self, volume_id: str, attachment_id: str) -> None:
        """End an export."""
        await self._end(attachment_id)

    async def _end(self, attachment_id: str) -> None:
        stack = self._attached.pop(attachment_id, None)
        if stack is not None:
            await self._nbd.remove(attachment_id)
            await stack.aclose()


def _write_data(fd: int, offset: int, chunk: bytes) -> None:
    """What is not zero of a new file."""
    for start in range(0, len(chunk), HOLE_BYTES):
        part = chunk[start : start + HOLE_BYTES]
        if part.count(0) != len(part):
            sparse.write_at(fd, offset + start, part)
