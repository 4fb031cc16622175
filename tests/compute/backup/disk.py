"""A sparse disk in memory: the `Disk` contract, with a count of what is read."""

from collections.abc import AsyncIterator

from compute.volume.drivers.contract import Extent

UNIT = 4096


class MemoryDisk:
    """Units that were never written are holes."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.units: dict[int, bytes] = {}
        self.read_bytes = 0
        self.flushed = 0

    def read_now(self, offset: int, length: int) -> bytes | None:
        """Nothing is at hand."""
        return None

    async def read(self, offset: int, length: int) -> bytes:
        self.read_bytes += length
        return self.bytes_of(offset, length)

    def bytes_of(self, offset: int, length: int) -> bytes:
        """What is there."""
        first, last = offset // UNIT, -(-(offset + length) // UNIT)
        whole = b"".join(self.units.get(unit, bytes(UNIT)) for unit in range(first, last))
        return whole[offset - first * UNIT :][:length]

    async def write(self, offset: int, data: bytes | memoryview, *, fua: bool = False) -> None:
        data = bytes(data)
        assert 0 <= offset <= offset + len(data) <= self.size_bytes
        first, last = offset // UNIT, -(-(offset + len(data)) // UNIT)
        whole = bytearray(self.bytes_of(first * UNIT, (last - first) * UNIT))
        start = offset - first * UNIT
        whole[start : start + len(data)] = data
        for unit in range(first, last):
            at = (unit - first) * UNIT
            self.units[unit] = bytes(whole[at : at + UNIT])

    async def zero(self, offset: int, length: int, *, fua: bool = False) -> None:
        for unit in range(offset // UNIT, -(-(offset + length) // UNIT)):
            start, end = max(offset, unit * UNIT), min(offset + length, (unit + 1) * UNIT)
            if end - start == min(UNIT, self.size_bytes - unit * UNIT):
                self.units.pop(unit, None)
            elif unit in self.units:
                await self.write(start, bytes(end - start))

    async def flush(self) -> None:
        self.flushed += 1

    async def extents(self, offset: int, length: int) -> AsyncIterator[Extent]:
        at, end = offset, offset + length
        for unit in sorted(unit for unit in self.units if offset // UNIT <= unit <= (end - 1) // UNIT):
            start, stop = max(unit * UNIT, offset), min((unit + 1) * UNIT, end)
            if at < start:
                yield Extent(at, start - at, False)
            yield Extent(start, stop - start, True)
            at = stop
        if at < end:
            yield Extent(at, end - at, False)

    async def close(self) -> None:
        await self.flush()

    def content(self) -> dict[int, bytes]:
        """The units that are not zero."""
        return {unit: data for unit, data in self.units.items() if data.strip(b"\0")}
