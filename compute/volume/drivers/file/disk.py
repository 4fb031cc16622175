"""An open file, and copies of it as it is at one moment while it is written.

A copy goes through the file block by block; a write into a block that was not copied yet copies it
first. A write that was under way when the copy began may be in it, whole, in part or not: it was not
answered, as after a power cut.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Final

from compute.volume.drivers.contract import Extent
from compute.volume.drivers.errors import Busy, NoRoom, NoSuchVolume
from compute.volume.drivers.file import sparse
from compute.volume.drivers.file.threads import on_thread

BLOCK_BYTES: Final = 4 * 1024 * 1024


class FileDisk:
    """A volume or a snapshot. Made by `opened`, ended by `close`."""

    def __init__(self, fd: int, size_bytes: int, *, writable: bool) -> None:
        self._fd = fd
        self._size = size_bytes
        self._writable = writable
        self._copies: list[Copy] = []

    @classmethod
    async def opened(cls, path: str, *, writable: bool) -> "FileDisk":
        """Raises NoSuchVolume, OSError."""
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
        try:
            fd = os.open(path, flags)
        except FileNotFoundError as error:
            raise NoSuchVolume(f"there is no file {os.path.basename(path)}") from error
        return cls(fd, os.fstat(fd).st_size, writable=writable)

    @property
    def size_bytes(self) -> int:
        """As it is now."""
        return self._size

    def read_now(self, offset: int, length: int) -> bytes | None:
        """None: a file of a disk is read by a thread."""
        return None

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes. Raises ValueError beyond the end, OSError."""
        self._check(offset, length)
        found = await on_thread(sparse.read_at, self._fd, offset, length)
        if len(found) != length:
            raise OSError(errno.EIO, "the file is shorter than its volume")
        return found

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        """Raises ValueError, NoRoom, OSError, Busy for a snapshot."""
        await self._ready(offset, len(data))
        try:
            await on_thread(sparse.write_at, self._fd, offset, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom(errno.ENOSPC, f"the file system is full: {error}") from error
            raise
        if fua:
            await self.flush()

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """A hole where the file system has them."""
        await self._ready(offset, length)
        if length:
            await on_thread(sparse.zero_at, self._fd, offset, length)
        if fua:
            await self.flush()

    async def flush(self) -> None:
        """To the disk, with the file's size."""
        if self._writable:
            await on_thread(os.fdatasync, self._fd)

    async def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        """As the file system tells them."""
        self._check(offset, length)
        for extent in await on_thread(sparse.extents, self._fd, offset, length):
            yield extent

    async def close(self) -> None:
        """Flush. The descriptor is closed even if that fails."""
        try:
            await self.flush()
        finally:
            os.close(self._fd)

    async def resize(self, size_bytes: int) -> None:
        """Grow. A smaller size changes nothing."""
        if size_bytes > self._size:
            await on_thread(os.ftruncate, self._fd, size_bytes)
            await on_thread(os.fsync, self._fd)
            self._size = size_bytes

    async def copy(self, target: int) -> None:
        """The bytes of now into an empty file; at once where files may share blocks."""
        size = self._size
        if await on_thread(sparse.shared, self._fd, target):
            return
        await on_thread(os.ftruncate, target, size)
        copy = Copy(self._fd, target, size)
        self._copies.append(copy)
        try:
            await copy.run()
        finally:
            self._copies.remove(copy)

    async def _ready(self, offset: int, length: int) -> None:
        """What is written now is not for copies that have begun."""
        if not self._writable:
            raise Busy("a snapshot can't be written")
        self._check(offset, length)
        for copy in list(self._copies):
            await copy.before(offset, length)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"{length} bytes at {offset} are beyond the end of the volume")


class Copy:
    """A copy that is under way."""

    def __init__(self, source: int, target: int, size_bytes: int) -> None:
        self._source = source
        self._target = target
        self._size = size_bytes
        self._done: set[int] = set()
        self._failed = False
        self._copying = asyncio.Lock()

    async def run(self) -> None:
        """All blocks. Raises OSError, also where a block failed before a write of it."""
        for number in range(-(-self._size // BLOCK_BYTES)):
            await self._block(number)
        if self._failed:
            raise OSError(errno.EIO, "a block could not be copied before it was written")

    async def before(self, offset: int, length: int) -> None:
        """Copy what a write is about to change. The copy fails where that can't be, not the write."""
        end = min(offset + length, self._size)
        for number in range(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            try:
                await self._block(number)
            except OSError:
                self._failed = True

    async def _block(self, number: int) -> None:
        async with self._copying:
            if number in self._done:
                return
            start = number * BLOCK_BYTES
            length = min(BLOCK_BYTES, self._size - start)
            await on_thread(sparse.copy_range, self._source, self._target, start, length)
            self._done.add(number)
