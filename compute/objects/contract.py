"""What the rooms ask of an object store: Swift's objects, with the few conditions that it knows.

`compute.objects.client` speaks to a real one, `compute.objects.memory` is its twin for tests; both pass
the same tests.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

Data = bytes | bytearray | memoryview | AsyncIterator[bytes]


class Stored(NamedTuple):
    """What a PUT made. etag: MD5 in hex, without quotes."""

    etag: str
    size: int | None


class ObjectInfo(NamedTuple):
    """An object's headers, names in lower case. size: in bytes."""

    size: int
    etag: str
    headers: Mapping[str, str]


class ListedObject(NamedTuple):
    """A row of a listing."""

    name: str
    size: int
    etag: str


class ObjectStream(Protocol):
    """An object's bytes under way. size: of what is sent, in bytes."""

    @property
    def size(self) -> int:
        """As the answer says: of the range, where one was asked for."""

    @property
    def etag(self) -> str:
        """Of the whole object."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes. Raises StoreAway where the stream breaks off before its end."""


class ObjectStore(Protocol):
    """Containers and objects of the service's account. Everything raises StoreAway, StoreRefused."""

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
        """Write an object. size: of an iterator's bytes, where it is known.

        An iterator is read once, so such a PUT is never tried again; what it raises is raised here.
        if_none_match: only where nothing is. Raises Exists, NoSuchObject (no such container).
        """

    async def get(self, container: str, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it. Raises NoSuchObject."""

    def stream(
        self, container: str, name: str, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[ObjectStream]:
        """Read an object as it comes. Raises NoSuchObject."""

    async def head(self, container: str, name: str) -> ObjectInfo | None:
        """An object's headers; None where there is none."""

    async def delete(self, container: str, name: str) -> bool:
        """Delete an object; False where there is none."""

    async def listing(
        self, container: str, prefix: str = "", marker: str = "", limit: int = 10_000
    ) -> list[ListedObject]:
        """Objects after `marker`, in the order of their names. A container that is absent is empty."""

    async def make_container(self, container: str, policy: str | None = None) -> None:
        """Make a container, which may exist. policy: of storage; None for the store's own choice."""

    async def delete_container(self, container: str) -> bool:
        """Delete an empty container; False where there is none. Raises StoreRefused: 409, not empty."""
