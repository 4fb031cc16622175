"""A snapshot that is read: layers that nobody writes any more."""

from collections.abc import AsyncIterator

from compute.volume.drivers.contract import Extent
from compute.volume.drivers.errors import Busy
from compute.volume.drivers.ring.layers import EXTENT_BYTES, Ahead, Layer, Shelf, split
from compute.volume.drivers.ring.volume import seen_extents


class View:
    """A disk that can't be written."""

    def __init__(self, shelf: Shelf, chain: list[Layer], size_bytes: int) -> None:
        self._shelf = shelf
        self._chain = chain
        self._ahead = Ahead(shelf)
        self.size_bytes = size_bytes

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"{length} bytes at {offset} are beyond the end of the snapshot")

    def read_now(self, offset: int, length: int) -> bytes | None:
        """The bytes where they are at hand. Raises ValueError beyond the end."""
        self._check(offset, length)
        number, start = divmod(offset, EXTENT_BYTES)
        if start + length > EXTENT_BYTES:
            return None
        self._ahead.read(self._chain, number)
        return self._shelf.now(self._chain, number, start, length)

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes. Raises ValueError beyond the end, StoreAway."""
        self._check(offset, length)
        parts = []
        for number, start, _, part in split(offset, length):
            self._ahead.read(self._chain, number)
            parts.append(await self._shelf.extent(self._chain, number, start, part))
        return b"".join(parts)

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        """Raises Busy: a snapshot is not written."""
        raise Busy("a snapshot can't be written")

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        """Raises Busy: a snapshot is not written."""
        raise Busy("a snapshot can't be written")

    async def flush(self) -> None:
        """There is nothing to flush."""

    async def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        """What is stored, and what is zeroes."""
        self._check(offset, length)
        for number, start, at, part in split(offset, length):
            for extent in seen_extents(self._chain, number, start, part):
                yield Extent(offset + at + extent.offset - start, extent.length, extent.data)

    async def close(self) -> None:
        """There is nothing to close."""
