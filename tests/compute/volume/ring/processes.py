"""Processes that share one object store, and die: what a dead one had under way may happen or not."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

from compute.objects.contract import Data, ListedObject, ObjectInfo, ObjectStream, Stored
from compute.objects.memory import MemoryStore


class Dead(asyncio.CancelledError):
    """Ends whatever a dead process still does, as if it were cancelled."""


class Process:
    """One process's handle of the store. chance: how long calls take, and what a death leaves."""

    def __init__(self, store: MemoryStore, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self.is_dead = False

    def die(self) -> None:
        """From now on nothing returns; of what is under way, some happens."""
        self.is_dead = True

    async def _under_way(self) -> None:
        for _ in range(self._chance.randrange(6)):
            await asyncio.sleep(0)
        if self.is_dead and self._chance.random() < 0.5:
            raise Dead

    def _answered(self) -> None:
        if self.is_dead:
            raise Dead

    async def put(
        self,
        container: str,
        name: str,
        data: Data,
        *,
        size: int | None = None,
        if_none_match: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Stored:
        self._answered()
        await self._under_way()
        stored = await self._store.put(
            container, name, data, size=size, if_none_match=if_none_match, headers=headers
        )
        await asyncio.sleep(0)
        self._answered()
        return stored

    async def get(self, container: str, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._answered()
        await self._under_way()
        found = await self._store.get(container, name, offset, length)
        self._answered()
        return found

    @contextlib.asynccontextmanager
    async def stream(
        self, container: str, name: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        async with self._store.stream(container, name, offset, length) as found:
            yield found

    async def head(self, container: str, name: str) -> ObjectInfo | None:
        return await self._call(self._store.head, container, name)  # type: ignore[no-any-return]

    async def delete(self, container: str, name: str) -> bool:
        return await self._call(self._store.delete, container, name)  # type: ignore[no-any-return]

    async def listing(
        self, container: str, prefix: str = "", marker: str = "", limit: int = 10_000
    ) -> list[ListedObject]:
        return await self._call(self._store.listing, container, prefix, marker, limit)  # type: ignore[no-any-return]

    async def make_container(self, container: str, policy: str | None = None) -> None:
        await self._store.make_container(container, policy)

    async def delete_container(self, container: str) -> bool:
        return await self._store.delete_container(container)

    async def _call(self, verb: Any, *arguments: Any) -> Any:
        self._answered()
        await self._under_way()
        found = await verb(*arguments)
        self._answered()
        return found
