"""Reading a copy back into a disk: every chunk is verified, holes stay holes."""

import asyncio
from typing import Final

from compute.backup.errors import Damaged, NoSuchCopy
from compute.backup.format import (
    BLOCK_BYTES,
    NOWHERE,
    PAGE_BYTES,
    REGION_BYTES,
    Page,
    Ref,
    Region,
    Root,
    page_of,
    root_name,
    root_of,
)
from compute.backup.seal import Keys
from compute.objects.contract import ObjectStore
from compute.objects.errors import NoSuchObject
from compute.volume.drivers.contract import Disk

REGIONS_AT_ONCE: Final = 6


async def _stored(objects: ObjectStore, container: str, ref: Ref) -> bytes:
    try:
        return await objects.get(container, ref.name)
    except NoSuchObject as error:
        raise Damaged("a chunk of the backup is missing") from error


async def read_chunk(objects: ObjectStore, keys: Keys, container: str, ref: Ref) -> bytes:
    """The content of a chunk. Raises Damaged, StoreAway."""
    stored = await _stored(objects, container, ref)
    return await asyncio.to_thread(keys.unpacked, stored, ref.digest)


async def read_page(objects: ObjectStore, keys: Keys, container: str, ref: Ref) -> Page:
    """A page. Raises Damaged, StoreAway."""
    stored = await _stored(objects, container, ref)
    return page_of(await asyncio.to_thread(keys.unpacked_page, stored, ref.digest))


async def read_root(objects: ObjectStore, keys: Keys, container: str, copy_id: str) -> Root:
    """A copy's root. Raises NoSuchCopy, Damaged, StoreAway."""
    try:
        stored = await objects.get(container, root_name(copy_id))
    except NoSuchObject as error:
        raise NoSuchCopy(copy_id) from error
    return root_of(keys.unpacked_root(stored))


class Restorer:
    """Writes a copy to a disk that is at least as large. is_blank: it reads as zeroes all over.

    What is beyond the copy's size stays. Done twice, it does no harm.
    """

    def __init__(
        self,
        objects: ObjectStore,
        keys: Keys,
        container: str,
        root: Root,
        disk: Disk,
        *,
        is_blank: bool,
    ) -> None:
        self._objects = objects
        self._keys = keys
        self._container = container
        self._root = root
        self._disk = disk
        self._is_blank = is_blank
        self._room = asyncio.Semaphore(REGIONS_AT_ONCE)

    async def run(self) -> None:
        """Raises Damaged, StoreAway, and what the disk raises."""
        try:
            await self._run()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _run(self) -> None:
        at = 0
        for number, ref in self._root.pages:
            page = await read_page(self._objects, self._keys, self._container, ref)
            async with asyncio.TaskGroup() as tasks:
                for place in sorted(page):
                    start = number * PAGE_BYTES + place * REGION_BYTES
                    await self._clear(at, start)
                    at = min(start + REGION_BYTES, self._root.size_bytes)
                    await self._room.acquire()
                    task = tasks.create_task(self._region(start, page[place]), name=f"region {start}")
                    task.add_done_callback(lambda _: self._room.release())
        await self._clear(at, self._root.size_bytes)
        await self._disk.flush()

    async def _clear(self, start: int, end: int) -> None:
        """Make a range read as zeroes; only what is allocated is touched."""
        if self._is_blank or start >= end:
            return
        async for extent in self._disk.extents(start, end - start):
            if extent.data:
                await self._disk.zero(extent.offset, extent.length)

    async def _region(self, start: int, region: Region) -> None:
        chunks = [
            await read_chunk(self._objects, self._keys, self._container, ref) for ref in region.chunks
        ]
        offset = start
        for run in region.runs:
            length = min(run.blocks * BLOCK_BYTES, self._root.size_bytes - offset)
            if run.chunk == NOWHERE:
                await self._clear(offset, offset + length)
            else:
                await self._disk.write(offset, _part(chunks, run.chunk, run.first, length))
            offset += length


def _part(chunks: list[bytes], chunk: int, first: int, length: int) -> memoryview:
    begin = first * BLOCK_BYTES
    if not 0 <= chunk < len(chunks) or begin + length > len(chunks[chunk]):
        raise Damaged("a page of the backup names what its chunks don't hold")
    return memoryview(chunks[chunk])[begin : begin + length]
