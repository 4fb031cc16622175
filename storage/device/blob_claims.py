"""Who is at work on which blob: at most one of putting in place, removing, inspecting and sweeping."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from storage.types import BlobName


class Claims:
    """Names that someone holds. All on one event loop."""

    def __init__(self) -> None:
        self._held: set[BlobName] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def held(self, name: BlobName) -> bool:
        """True while someone holds `name`."""
        return name in self._held

    @asynccontextmanager
    async def hold(self, names: Iterable[BlobName]) -> AsyncIterator[None]:
        """Hold all of `names`, waiting until nobody else does. Not reentrant."""
        wanted = frozenset(names)
        while self._held & wanted:
            released = asyncio.get_running_loop().create_future()
            self._waiting.append(released)
            await released
        self._held |= wanted
        try:
            yield
        finally:
            self._held -= wanted
            waiting, self._waiting = self._waiting, []
            for released in waiting:
                if not released.done():
                    released.set_result(None)
