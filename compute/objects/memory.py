"""An object store in memory: the client's twin, for tests of what stands on it."""

import asyncio
import contextlib
import hashlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping

from compute.objects.contract import Data, ListedObject, ObjectInfo, ObjectStream, Stored
from compute.objects.errors import Exists, NoSuchObject, StoreRefused


class _Object:
    def __init__(self, data: bytes, headers: Mapping[str, str]) -> None:
        self.data = data
        self.etag = hashlib.md5(data).hexdigest()
        self.headers = {name.lower(): value for name, value in headers.items()} | {
            "content-length": str(len(data)),
            "etag": self.etag,
        }


class _Stream:
    def __init__(self, data: bytes, whole: _Object) -> None:
        self._data = data
        self.size = len(data)
        self.etag = whole.etag
        self.headers = whole.headers | {"content-length": str(len(data))}

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 65536):
            yield self._data[start : start + 65536]


class MemoryStore:
    """`ObjectStore` without a network. Each call yields to other tasks once."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, _Object]] = {}
        self.policies: dict[str, str | None] = {}

    def _container(self, container: str) -> dict[str, _Object]:
        if container not in self.containers:
            raise NoSuchObject(container)
        return self.containers[container]

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
        """Write an object."""
        if isinstance(data, bytes | bytearray | memoryview):
            whole = bytes(data)
        else:
            whole = b"".join([chunk async for chunk in data])
            if size is not None and len(whole) != size:
                raise StoreRefused(499, "the body ended early")
        await asyncio.sleep(0)
        objects = self._container(container)
        if if_none_match and name in objects:
            raise Exists(f"{container}/{name}")
        objects[name] = _Object(whole, headers or {})
        return Stored(objects[name].etag, len(whole))

    async def get(self, container: str, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        async with self.stream(container, name, offset, length) as found:
            return b"".join([chunk async for chunk in found.chunks()])

    @contextlib.asynccontextmanager
    async def stream(
        self, container: str, name: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Read an object as it comes."""
        if length == 0:
            raise ValueError("a range of no bytes can't be asked for")
        await asyncio.sleep(0)
        found = self._container(container).get(name)
        if found is None:
            raise NoSuchObject(f"{container}/{name}")
        if (offset or length is not None) and offset >= len(found.data):
            raise StoreRefused(416, "the range is beyond the object's end")
        end = len(found.data) if length is None else offset + length
        yield _Stream(found.data[offset:end], found)

    async def head(self, container: str, name: str) -> ObjectInfo | None:
        """An object's headers."""
        await asyncio.sleep(0)
        found = self.containers.get(container, {}).get(name)
        return ObjectInfo(len(found.data), found.etag, found.headers) if found else None

    async def delete(self, container: str, name: str) -> bool:
        """Delete an object."""
        await asyncio.sleep(0)
        return self.containers.get(container, {}).pop(name, None) is not None

    async def listing(
        self, container: str, prefix: str = "", marker: str = "", limit: int = 10_000
    ) -> list[ListedObject]:
        """Objects after `marker`."""
        await asyncio.sleep(0)
        objects = self.containers.get(container, {})
        names = sorted(name for name in objects if name.startswith(prefix))
        after = names[bisect_right(names, marker) :][:limit]
        return [ListedObject(name, len(objects[name].data), objects[name].etag) for name in after]

    async def make_container(self, container: str, policy: str | None = None) -> None:
        """Make a container, which may exist."""
        await asyncio.sleep(0)
        self.containers.setdefault(container, {})
        self.policies.setdefault(container, policy)

    async def delete_container(self, container: str) -> bool:
        """Delete an empty container."""
        await asyncio.sleep(0)
        if container not in self.containers:
            return False
        if self.containers[container]:
            raise StoreRefused(409, "the container is not empty")
        del self.containers[container]
        return True
