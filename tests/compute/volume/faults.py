"""A host whose object store and database fail it, or that dies, at a step that a test chooses.

A step is a request to the object store or a commit. What fails may have been done all the same: an
answer that is lost is the harder case. What dies does nothing more, and tidies nothing up.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from sqlalchemy import event
from sqlalchemy.orm import Session

from compute.database.engine import Database, DatabaseAway
from compute.objects.contract import Data, ListedObject, ObjectInfo, ObjectStream, Stored
from compute.objects.errors import StoreAway, StoreRefused
from compute.objects.memory import MemoryStore

Kind = Literal["none", "lost", "refused", "dies"]
Result = TypeVar("Result")


class Dead(asyncio.CancelledError):
    """Ends whatever a dead process still does."""


class Plan:
    """Steps `first` to `first + length - 1` fail, counted from 1.

    lost: done, and the answer is lost. refused: not done; of the store's alone. dies: done, and it was
    the last thing that was.
    """

    def __init__(self, kind: Kind = "none", first: int = 0, length: int = 1) -> None:
        self.kind = kind
        self.first = first
        self.length = length
        self.steps = 0
        self.is_dead = False
        self.is_buried = False

    @property
    def has_failed(self) -> bool:
        """Whether the first step that was to fail has come."""
        return self.kind != "none" and self.steps >= self.first

    def check(self) -> None:
        """Raises Dead; StoreAway while what is left of a dead process is put away."""
        if self.is_buried:
            raise StoreAway("the process has ended")
        if self.is_dead:
            raise Dead

    def step(self) -> bool:
        """Count one; whether it fails."""
        self.steps += 1
        return self.kind != "none" and 0 <= self.steps - self.first < self.length

    async def request(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """One to the store."""
        self.check()
        fails = self.step()
        if fails and self.kind == "refused":
            raise StoreRefused(507, "there is no room")
        found = await ask()
        if fails and self.kind == "lost":
            raise StoreAway("the answer was lost")
        if fails:
            self.is_dead = True
        self.check()
        return found

    def committed(self) -> None:
        """A commit, on a thread of the database's."""
        if self.kind == "refused" or not self.step():
            return
        if self.kind == "lost":
            raise DatabaseAway("the answer was lost")
        self.is_dead = True


class FaultyDatabase(Database):
    """As its plan says."""

    def __init__(self, url: str, plan: Plan) -> None:
        super().__init__(url, threads=4)
        self._plan = plan
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _unsynced)

    @contextlib.contextmanager
    def write(self, room: str, *, changes: bool = True) -> Iterator[Session]:
        with super().write(room, changes=changes) as session:
            yield session
        self._plan.committed()

    async def run(self, work: Callable[[], Result]) -> Result:
        """On SQLite on this thread: going to another one takes longer than what is done there."""
        self._plan.check()
        await asyncio.sleep(0)
        found = work() if self._is_sqlite else await super().run(work)
        self._plan.check()
        return found


def _unsynced(connection: Any, _record: Any) -> None:
    """Processes die here, power does not."""
    connection.execute("PRAGMA synchronous=OFF").close()


class FaultyStore:
    """`ObjectStore`, as its plan says."""

    def __init__(self, store: MemoryStore, plan: Plan) -> None:
        self._store = store
        self._plan = plan

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
        more: dict[str, Any] = {"size": size, "if_none_match": if_none_match, "headers": headers}
        return await self._plan.request(lambda: self._store.put(container, name, data, **more))

    async def get(self, container: str, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return await self._plan.request(lambda: self._store.get(container, name, offset, length))

    @contextlib.asynccontextmanager
    async def stream(
        self, container: str, name: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        async with self._store.stream(container, name, offset, length) as found:
            await self._plan.request(lambda: asyncio.sleep(0))
            yield found

    async def head(self, container: str, name: str) -> ObjectInfo | None:
        return await self._plan.request(lambda: self._store.head(container, name))

    async def delete(self, container: str, name: str) -> bool:
        return await self._plan.request(lambda: self._store.delete(container, name))

    async def listing(
        self, container: str, prefix: str = "", marker: str = "", limit: int = 10_000
    ) -> list[ListedObject]:
        return await self._plan.request(lambda: self._store.listing(container, prefix, marker, limit))

    async def make_container(self, container: str, policy: str | None = None) -> None:
        await self._plan.request(lambda: self._store.make_container(container, policy))

    async def delete_container(self, container: str) -> bool:
        return await self._plan.request(lambda: self._store.delete_container(container))
