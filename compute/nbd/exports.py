"""What a server offers: disks by their names, and how many requests of each are under way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol


class ExportedDisk(Protocol):
    """What an export needs of a disk. Offsets and lengths in bytes."""

    @property
    def size_bytes(self) -> int:
        """As it is now."""

    def read_now(self, offset: int, length: int) -> bytes | None:
        """The bytes where they are at hand, without waiting; None where `read` has to get them."""

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes."""

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        """Write."""

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """Make zeroes."""

    async def flush(self) -> None:
        """Make durable what was answered."""

    def extents(self, offset: int, length: int) -> AsyncIterator[tuple[int, int, bool]]:
        """Offset, length, whether there are data."""


class Export:
    """One disk under one name."""

    def __init__(self, name: str, disk: ExportedDisk, *, read_only: bool) -> None:
        self.name = name
        self.disk = disk
        self.read_only = read_only
        self.connections: set[asyncio.Task[None]] = set()
