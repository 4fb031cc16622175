"""Reads ranges of immutable objects through a bounded cache of blocks."""

import asyncio
from collections import OrderedDict
from typing import Final

from compute.objects.contract import ObjectStore

BLOCK_BYTES: Final = 64 * 1024
CACHE_BYTES: Final = 64 * 1024 * 1024
"""Of a process, for all its volumes."""


class Blocks:
    """A process's cache. Names never stand for other bytes later, so nothing in it grows stale."""

    def __init__(self, objects: ObjectStore, cache_bytes: int = CACHE_BYTES) -> None:
        self._objects = objects
        self._blocks_max = cache_bytes // BLOCK_BYTES
        self._blocks: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self._coming: dict[tuple[str, str, int], asyncio.Task[bytes]] = {}

    async def read(self, container: str, name: str, size: int, offset: int, length: int) -> bytes:
        """A range within an object of `size` bytes. Raises NoSuchObject, StoreAway."""
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        if first == last and (known := self._known((container, name, first))) is not None:
            start = offset - first * BLOCK_BYTES
            return known[start : start + length]
        parts: list[bytes | asyncio.Task[bytes]] = []
        at = first
        while at <= last:
            key = (container, name, at)
            if (known := self._known(key)) is not None:
                parts.append(known)
                at += 1
                continue
            run = self._coming.get(key)
            if run is not None:
                parts.append(run)
                at += 1
                continue
            end = at + 1
            while end <= last and not self._has((container, name, end)):
                end += 1
            parts.append(await self._fetched(container, name, size, at, end))
            at = end
        whole = b"".join([part if isinstance(part, bytes) else await part for part in parts])
        start = offset - first * BLOCK_BYTES
        return whole[start : start + length]

    def _has(self, key: tuple[str, str, int]) -> bool:
        return key in self._blocks or key in self._coming

    def _known(self, key: tuple[str, str, int]) -> bytes | None:
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    async def _fetched(self, container: str, name: str, size: int, first: int, end: int) -> bytes:
        """The bytes of blocks, kept. Who wants a single one meanwhile waits for the same answer."""
        key = (container, name, first)
        start = first * BLOCK_BYTES
        length = min(end * BLOCK_BYTES, size) - start
        if end - first > 1:
            raw = await self._objects.get(container, name, start, length)
        else:
            task = asyncio.ensure_future(self._objects.get(container, name, start, length))
            self._coming[key] = task
            try:
                raw = await asyncio.shield(task)
            finally:
                self._coming.pop(key, None)
        for number in range(first, end):
            at = (number - first) * BLOCK_BYTES
            self._keep((container, name, number), raw[at : at + BLOCK_BYTES])
        return raw

    def _keep(self, key: tuple[str, str, int], block: bytes) -> None:
        self._blocks[key] = block
        while len(self._blocks) > self._blocks_max:
            self._blocks.popitem(last=False)
