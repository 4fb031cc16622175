"""A client of Swift's API over aiohttp, logged in as the add-on's own user.

What is safe to ask twice is asked again, a few times with growing pauses, where the store is away for a
moment (no connection, 429, 5xx); so a restart of the store is a pause here and no error.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from compute.objects.contract import Data, ListedObject, ObjectInfo, ObjectStream, Stored
from compute.objects.errors import Exists, NoSuchObject, StoreAway, StoreRefused

CONNECTIONS_MAX: Final = 128
READ_BYTES: Final = 1024 * 1024
"""Of an answer that are read before whoever takes it is waited for: fewer turns, for a fast store."""
WRITE_BYTES: Final = 1024 * 1024
CONNECT_WITHIN_S: Final = 5.0
IDLE_S: Final = 60.0
"""A connection on which nothing comes for so long is given up."""
TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.2
REASON_BYTES: Final = 512

_AWAY: Final = frozenset({408, 429, 500, 502, 503, 504})


class Place(NamedTuple):
    """Where the account is, without a last slash, and a token for it."""

    url: str
    token: str

    def __repr__(self) -> str:  # the token is a secret
        return f"Place(url={self.url!r})"


class Login(Protocol):
    """Finds the account and a token."""

    async def place(self, *, renew: bool = False) -> Place:
        """renew: the last token was refused. Raises StoreAway."""


class SwiftStream:
    """An answer's body under way."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        self.size = int(self.headers.get("content-length", 0))
        self.etag = self.headers.get("etag", "").strip('"')

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes. Raises StoreAway where the stream breaks off before its end."""
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StoreAway(f"the object store broke off: {type(error).__name__}") from error


class SwiftStore:
    """`ObjectStore` over HTTP. Made within the loop that uses it; `close` ends its connections."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()

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
        sent = {"Content-Type": "application/octet-stream", **(headers or {})}
        if if_none_match:
            sent["If-None-Match"] = "*"
        if isinstance(data, bytes | bytearray | memoryview):
            return await self._put_bytes(container, name, data, sent, if_none_match)
        if size is not None:
            sent["Content-Length"] = str(size)
        source = _Watched(data)
        try:
            return await self._put(container, name, source.chunks(), size, sent)
        except StoreAway:
            if source.error is not None:
                raise source.error from None
            raise

    async def _put_bytes(
        self, container: str, name: str, data: Any, headers: dict[str, str], if_none_match: bool
    ) -> Stored:
        """Asked again where no answer tells what became of it.

        A condition that was met by an earlier try is not met by the next one; so what is there is ours
        where it has our bytes.
        """
        size = memoryview(data).nbytes
        headers["Content-Length"] = str(size)
        for number, pause in enumerate(_pauses()):
            try:
                return await self._put(container, name, data, size, headers)
            except Exists:
                found = await self.head(container, name) if number and if_none_match else None
                if found is None or found.etag != hashlib.md5(data).hexdigest():
                    raise
                return Stored(found.etag, size)
            except StoreAway:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last try raises")

    async def _put(
        self, container: str, name: str, data: Data, size: int | None, headers: Mapping[str, str]
    ) -> Stored:
        async with self._asked("PUT", _path(container, name), headers, data, tries=1) as answer:
            if answer.status == 412:
                raise Exists(f"{container}/{name}")
            await _check(answer, 201)
            return Stored(answer.headers.get("ETag", "").strip('"'), size)

    async def get(self, container: str, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        for pause in _pauses():
            try:
                async with self.stream(container, name, offset, length) as found:
                    return b"".join([chunk async for chunk in found.chunks()])
            except StoreAway:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last try raises")

    @contextlib.asynccontextmanager
    async def stream(
        self, container: str, name: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Read an object as it comes."""
        headers = {}
        if length == 0:
            raise ValueError("a range of no bytes can't be asked for")
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            headers["Range"] = f"bytes={offset}-{last}"
        async with self._asked("GET", _path(container, name), headers) as answer:
            await _check(answer, 200, 206)
            yield SwiftStream(answer)

    async def head(self, container: str, name: str) -> ObjectInfo | None:
        """An object's headers."""
        async with self._asked("HEAD", _path(container, name)) as answer:
            if answer.status == 404:
                return None
            await _check(answer, 200, 204)
            found = SwiftStream(answer)
            return ObjectInfo(found.size, found.etag, found.headers)

    async def delete(self, container: str, name: str) -> bool:
        """Delete an object."""
        async with self._asked("DELETE", _path(container, name)) as answer:
            if answer.status == 404:
                return False
            await _check(answer, 204, 200)
            return True

    async def listing(
        self, container: str, prefix: str = "", marker: str = "", limit: int = 10_000
    ) -> list[ListedObject]:
        """Objects after `marker`."""
        query = {"format": "json", "prefix": prefix, "marker": marker, "limit": str(limit)}
        async with self._asked("GET", _path(container), query=query) as answer:
            if answer.status in (404, 204):
                return []
            await _check(answer, 200)
            rows = msgspec.json.decode(await _whole(answer))
        return [ListedObject(row["name"], row["bytes"], row["hash"]) for row in rows]

    async def make_container(self, container: str, policy: str | None = None) -> None:
        """Make a container, which may exist."""
        headers = {"X-Storage-Policy": policy} if policy else {}
        async with self._asked("PUT", _path(container), headers) as answer:
            await _check(answer, 201, 202)

    async def delete_container(self, container: str) -> bool:
        """Delete an empty container."""
        async with self._asked("DELETE", _path(container)) as answer:
            if answer.status == 404:
                return False
            await _check(answer, 204)
            return True

    # -- one request --

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        data: Data | None = None,
        *,
        query: Mapping[str, str] | None = None,
        tries: int = TRIES,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, asked for again where that may help. Raises StoreAway."""
        answer = await self._answered(method, path, headers or {}, data, query or {}, tries)
        try:
            yield answer
        finally:
            answer.release()

    async def _answered(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: Data | None,
        query: Mapping[str, str],
        tries: int,
    ) -> aiohttp.ClientResponse:
        place = await self._login.place()
        renewed = False
        pauses = _pauses(tries)
        while True:
            pause = next(pauses)
            try:
                answer = await self._once(place, method, path, headers, data, query)
                if answer.status == 401 and not renewed:
                    answer.release()
                    place = await self._login.place(renew=True)
                    if not _is_again(data):
                        raise StoreAway("the token for the object store had to be renewed")
                    renewed, pauses = True, _pauses(tries)
                    continue
                if answer.status not in _AWAY:
                    return answer
                reason = f"the object store answered {answer.status}"
                answer.release()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                reason = f"the object store can't be reached: {type(error).__name__}"
            if pause is None:
                raise StoreAway(reason)
            await asyncio.sleep(pause)

    async def _once(
        self,
        place: Place,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: Any,
        query: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S, sock_read=IDLE_S)
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                connector=connector,
                auto_decompress=False,
                read_bufsize=READ_BYTES,
                skip_auto_headers=["User-Agent"],
            )
        question = f"?{urlencode(query)}" if query else ""
        return await self._session.request(
            method,
            URL(f"{place.url}{path}{question}", encoded=True),
            headers={**headers, "X-Auth-Token": place.token},
            data=_sliced(data),
        )


class _Watched:
    """A caller's iterator, whose own failure is told from the network's. aiohttp hides which it was."""

    def __init__(self, data: AsyncIterator[bytes]) -> None:
        self._data = data
        self.error: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._data:
                yield chunk
        except Exception as error:
            self.error = error
            raise


def _path(container: str, name: str | None = None) -> str:
    """Percent-encoded."""
    path = f"/{quote(container, safe='')}"
    return path if name is None else f"{path}/{quote(name)}"


def _sliced(data: Data | None) -> Any:
    """The same, in pieces where it is large, so that writing it doesn't hold up the loop."""
    if not isinstance(data, bytes | bytearray | memoryview) or len(data) <= WRITE_BYTES:
        return data

    async def slices() -> AsyncIterator[memoryview]:
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BYTES):
            yield view[start : start + WRITE_BYTES]

    return slices()


def _is_again(data: Data | None) -> bool:
    return data is None or isinstance(data, bytes | bytearray | memoryview)


def _pauses(tries: int = TRIES) -> Any:
    """The pause after each try, in seconds; None after the last."""
    for number in range(tries - 1):
        yield FIRST_PAUSE_S * 2**number
    yield None


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    try:
        return await answer.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise StoreAway(f"the object store broke off: {type(error).__name__}") from error


async def _check(answer: aiohttp.ClientResponse, *good: int) -> None:
    """Raises NoSuchObject, StoreRefused unless the status is one of these."""
    if answer.status in good:
        return
    if answer.status == 404:
        raise NoSuchObject(str(answer.url.path))
    try:
        reason = (await answer.content.read(REASON_BYTES)).decode("utf-8", "replace")
    except (TimeoutError, aiohttp.ClientError, OSError):
        reason = ""
    raise StoreRefused(answer.status, reason.strip() or str(answer.reason))
