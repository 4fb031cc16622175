"""A disk in memory for the NBD server."""

import errno
from collections.abc import AsyncIterator
from typing import Final

from compute.volume.drivers.contract import Extent

BLOCK: Final = 65536


class MemoryDisk:
    """Blocks that were never written are holes. broken: every call fails. full: writes do."""

    def __init__(self, size_bytes: int) -> None:
        self.data = bytearray(size_bytes)
        self.written: set[int] = set()
        self.flushes = 0
        self.broken = False
        self.full = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def _blocks(self, offset: int, length: int) -> set[int]:
        return set(range(offset // BLOCK, (offset + length - 1) // BLOCK + 1))

    def read_now(self, offset: int, length: int) -> bytes | None:
        """The first half is at hand."""
        if self.broken or offset + length > self.size_bytes // 2:
            return None
        return bytes(self.data[offset : offset + length])

    async def read(self, offset: int, length: int) -> bytes:
        if self.broken:
            raise OSError("broken")
        return bytes(self.data[offset : offset + length])

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        if self.broken:
            raise OSError("broken")
        self.data[offset : offset + len(data)] = data
        self.written |= self._blocks(offset, len(data))

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        self.data[offset : offset + length] = bytes(length)
        if offset % BLOCK == 0 and length % BLOCK == 0:
            self.written -= self._blocks(offset, length)

    async def flush(self) -> None:
        self.flushes += 1

    async def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        at = offset
        while at < offset + length:
            end = min((at // BLOCK + 1) * BLOCK, offset + length)
            yield Extent(at, end - at, at // BLOCK in self.written)
            at = end

    async def close(self) -> None:
        """Nothing."""
