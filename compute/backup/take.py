"""Making a copy of a disk: reads what is allocated, writes what is new, page after page.

At most PAGES_AT_ONCE x BATCH regions are in memory. A copy that broke off goes on after its last pages,
if its source has not changed since.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple

from compute.backup.format import (
    BLOCK_BYTES,
    PAGE_BYTES,
    PAGE_REGIONS,
    REGION_BYTES,
    VERSION,
    Page,
    Region,
    Root,
    chunks_of,
    page_bytes,
    root_bytes,
    root_name,
)
from compute.backup.ledger import Begun, Claim, Ledger
from compute.backup.regions import Plan, plan, region_of
from compute.backup.restore import read_page
from compute.backup.seal import Keys
from compute.objects.contract import ObjectStore
from compute.volume.drivers.contract import Disk, Extent

BATCH: Final = 8
PAGES_AT_ONCE: Final = 2


class Source(NamedTuple):
    """What is copied. parent: the last copy. changed: what may differ from it, None: unknown.

    sealed_key: to be written down with the copy.
    """

    disk: Disk
    sealed_key: bytes
    parent: Root | None = None
    changed: Sequence[Extent] | None = None


class Copier:
    """Makes one copy. Raises StoreAway, StoreRefused, DatabaseAway, Damaged, TakenOver."""

    def __init__(
        self, ledger: Ledger, objects: ObjectStore, keys: Keys, begun: Begun, source: Source
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._keys = keys
        self._begun = begun
        self._source = source
        parent = source.parent
        self._old = {ref.number: ref.ref for ref in parent.pages} if parent else {}
        self._touched = _regions(source.changed) if parent and source.changed is not None else None

    async def run(self) -> Root:
        """Make it, whole."""
        try:
            await self._all_pages()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        root = Root(
            VERSION,
            self._source.disk.size_bytes,
            self._source.sealed_key,
            await self._ledger.pages(self._begun),
        )
        content = await asyncio.to_thread(self._keys.packed_root, root_bytes(root))
        await self._objects.put(self._begun.container, root_name(self._begun.copy_id), content)
        await self._ledger.finish(self._begun)
        return root

    async def _all_pages(self) -> None:
        room = asyncio.Semaphore(PAGES_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            async for number, ranges in self._pages():
                await room.acquire()
                task = tasks.create_task(self._page(number, ranges), name=f"page {number}")
                task.add_done_callback(lambda _: room.release())

    async def _pages(self) -> AsyncIterator[tuple[int, list[tuple[int, int]]]]:
        """The pages to make, with the allocated ranges of each."""
        seen = set(self._begun.done)
        async for number, ranges in pages_of(self._source.disk):
            if number not in seen:
                yield number, ranges
            seen.add(number)
        if self._touched is not None:
            for number in sorted(set(self._old) - seen):
                yield number, []

    async def _page(self, number: int, ranges: list[tuple[int, int]]) -> None:
        ref = self._old.get(number)
        old: Page = {}
        if ref is not None:
            old = await read_page(self._objects, self._keys, self._begun.container, ref)
        if not await self._made(number, ranges, old, self._touched_in(number)):
            made = await self._made(number, ranges, {}, None)
            assert made, "what this attempt claimed stays until its end"

    def _touched_in(self, number: int) -> set[int] | None:
        """The regions of a page that may have changed since the last copy; None: any."""
        return None if self._touched is None else self._touched.get(number, set())

    async def _made(
        self, number: int, ranges: list[tuple[int, int]], old: Page, touched: set[int] | None
    ) -> bool:
        """Write a page; False where a chunk of the last copy is gone."""
        page: Page = {}
        by_region = _by_region(number, ranges)
        if touched is not None:
            page = {place: region for place, region in old.items() if place not in touched}
            by_region = {at: parts for at, parts in by_region.items() if at not in page}
        places = list(by_region)
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            page.update(await self._regions({at: by_region[at] for at in batch}, number, old))
        return await self._written(number, page) if page else True

    async def _regions(
        self, parts: dict[int, list[tuple[int, int]]], number: int, old: Page
    ) -> dict[int, Region]:
        plans = await asyncio.gather(
            *(self._planned(number, place, parts[place], old.get(place)) for place in parts)
        )
        by_place = {place: made for place, made in zip(parts, plans, strict=True) if not made.is_empty}
        contents = {made.digest: made.content for made in by_place.values() if made.content is not None}
        claims = await self._ledger.claim(self._begun, sorted(contents)) if contents else {}
        fresh = [claim for claim in claims.values() if not claim.is_stored]
        await asyncio.gather(*(self._put(claim, contents[claim.ref.digest]) for claim in fresh))
        if fresh:
            await self._ledger.stored(self._begun, [claim.object_id for claim in fresh])
        return {
            place: region_of(made, claims[made.digest].ref if made.content is not None else None)
            for place, made in by_place.items()
        }

    async def _planned(
        self, number: int, place: int, parts: list[tuple[int, int]], old: Region | None
    ) -> Plan:
        start = number * PAGE_BYTES + place * REGION_BYTES
        length = min(REGION_BYTES, self._source.disk.size_bytes - start)
        data = bytearray(-(-length // BLOCK_BYTES) * BLOCK_BYTES)
        for offset, size in parts:
            data[offset - start : offset - start + size] = await self._source.disk.read(offset, size)
        return await asyncio.to_thread(plan, self._keys, data, old)

    async def _written(self, number: int, page: Page) -> bool:
        content = page_bytes(page)
        digest = self._keys.page_digest(content)
        claim = await self._ledger.claim_page(self._begun, digest, chunks_of(page))
        if claim is None:
            return False
        if not claim.is_stored:
            await self._put(claim, content)
        await self._ledger.add_page(self._begun, number, claim.object_id)
        return True

    async def _put(self, claim: Claim, content: bytes | None) -> None:
        assert content is not None
        packed = await asyncio.to_thread(self._keys.packed, content, claim.ref.digest)
        await self._objects.put(self._begun.container, claim.ref.name, packed)


async def pages_of(disk: Disk) -> AsyncIterator[tuple[int, list[tuple[int, int]]]]:
    """The pages with data, and the ranges of it, cut at regions' borders."""
    number, ranges = -1, list[tuple[int, int]]()
    async for extent in disk.extents(0, disk.size_bytes):
        if not extent.data:
            continue
        for offset, length in _cut(extent.offset, extent.length, REGION_BYTES):
            if offset // PAGE_BYTES != number:
                if ranges:
                    yield number, ranges
                number, ranges = offset // PAGE_BYTES, []
            _lengthen(ranges, offset, length)
    if ranges:
        yield number, ranges


def _lengthen(ranges: list[tuple[int, int]], offset: int, length: int) -> None:
    """Add a range; what goes on where the last one ends, in the same region, is read with it."""
    if ranges and sum(ranges[-1]) == offset and offset % REGION_BYTES:
        ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
    else:
        ranges.append((offset, length))


def _cut(offset: int, length: int, every: int) -> Iterable[tuple[int, int]]:
    end = offset + length
    while offset < end:
        step = min(end, (offset // every + 1) * every) - offset
        yield offset, step
        offset += step


def _by_region(number: int, ranges: list[tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    """Ranges by the region of the page that they are in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for offset, length in ranges:
        found.setdefault((offset - number * PAGE_BYTES) // REGION_BYTES, []).append((offset, length))
    return found


def _regions(changed: Sequence[Extent]) -> dict[int, set[int]]:
    """The regions, by page, that these extents touch."""
    found: dict[int, set[int]] = {}
    for extent in changed:
        first = extent.offset // REGION_BYTES
        last = (extent.offset + extent.length - 1) // REGION_BYTES
        for region in range(first, last + 1):
            found.setdefault(region // PAGE_REGIONS, set()).add(region % PAGE_REGIONS)
    return found
