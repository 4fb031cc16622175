"""What both front ends need of HTTP: bodies with a deadline, sending objects, the request target.

Thin over aiohttp's low-level server: requests are `aiohttp.web.BaseRequest`, there is no router and no
middleware. `proxy/door.py` owns the listening port and picks the front end.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final, Protocol

from aiohttp import web

from proxy.core.errors import IncompleteBody, SlowBody
from storage.types import INLINE_MAX_BYTES

BODY_IDLE_MAX_S: Final = 60.0
"""A client that sends nothing of its body for this long is given up."""

SEND_IDLE_MAX_S: Final = 120.0
"""A client that takes nothing of an answer for this long is given up."""

READ_BUFFER_BYTES: Final = 1024 * 1024
"""How much of a body aiohttp holds before it stops reading from the socket."""

HEADER_FIELD_MAX_BYTES: Final = 16 * 1024
LINE_MAX_BYTES: Final = 16 * 1024

VERB: Final = web.RequestKey("verb", str)
"""A front end notes here what a request asks for, for the metrics: our own names, never a client's."""

METHODS: Final = frozenset({"COPY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What the metrics call a request of which no front end has noted more."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def split_target(target: str) -> tuple[str, str]:
    """The raw path and raw query of a request target, exactly as on the wire.

    An absolute-form target (RFC 9112, 3.2.2) loses its scheme and authority.
    """
    path, _, query = target.partition("?")
    if not path.startswith("/") and "://" in path:
        _, _, rest = path.partition("://")
        path = "/" + rest.partition("/")[2]
    return path, query


def content_length(request: web.BaseRequest) -> int | None:
    """The announced body length; None for a chunked body, 0 where there is no body.

    aiohttp has refused a malformed Content-Length, and one beside Transfer-Encoding, before.
    """
    length = request.headers.get("Content-Length")
    if length is not None:
        return int(length)
    return None if "Transfer-Encoding" in request.headers else 0


def send_continue(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`, once the request is admitted and its body is wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(_CONTINUE)


class Turn(Protocol):
    """A request's turn among all others (`proxy/admission.py`)."""

    def pause(self) -> None:
        """From now on the request waits for its client."""

    def resume(self) -> None:
        """It goes on."""

    def download(self) -> None:
        """Its answer goes out in pieces. Raises Overloaded."""


class _Always:
    """The turn of a request that nobody has to admit."""

    def pause(self) -> None:
        """Nobody waits for it."""

    def resume(self) -> None:
        """Nobody has it."""

    def download(self) -> None:
        """There is always room."""


_ALWAYS: Final = _Always()
TURN: Final = web.RequestKey("turn", Turn)
"""Under this key a request keeps its turn."""


def turn_of(request: web.BaseRequest) -> Turn:
    """The turn that the door has given to a request."""
    turn: Turn = request.get(TURN, _ALWAYS)
    return turn


class IncomingBody:
    """The raw body of a request, as a `proxy.core.types.Body` without checksums of its own."""

    def __init__(self, request: web.BaseRequest, *, idle_s: float = BODY_IDLE_MAX_S) -> None:
        self._request = request
        self._turn = turn_of(request)
        self._idle_s = idle_s
        self._expecting = "Expect" in request.headers
        self.size_bytes = content_length(request)

    def _begin(self) -> None:
        if self._expecting:
            self._expecting = False
            send_continue(self._request)

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises SlowBody, IncompleteBody."""
        self._begin()
        self._turn.pause()
        try:
            async with asyncio.timeout(self._idle_s):
                if self.size_bytes is None:
                    return await self._request.content.readany()
                # As received: `readany` would join, and so copy, what has piled up.
                return (await self._request.content.readchunk())[0]
        except TimeoutError as error:
            raise SlowBody from error
        except (ConnectionError, web.HTTPException, asyncio.IncompleteReadError) as error:
            raise IncompleteBody from error
        except Exception as error:  # aiohttp reports payload faults by several classes of its own
            if type(error).__module__.startswith("aiohttp"):
                raise IncompleteBody from error
            raise
        finally:
            self._turn.resume()

    async def read_all(self) -> bytes:
        """The whole body; for small ones. Raises as `read`."""
        self._begin()  # for empty bodies, too: botocore cannot reuse a connection that got no 100
        if self._request.content.is_eof():
            return self._request.content.read_nowait()
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> dict[str, str]:
        """A raw body promises no checksums."""
        return {}


class ShortBodyError(Exception):
    """A fault of ours: an object gave other than as many bytes as it has."""


async def send_stream(
    request: web.BaseRequest,
    status: int,
    headers: Mapping[str, str],
    length: int,
    pieces: AsyncGenerator[memoryview, None],
) -> web.StreamResponse:
    """Send `length` bytes. The first piece is fetched before the status line goes out, so that an
    object that cannot be read is an error of its own and not a broken answer; a later fault closes
    the connection short of the announced length. Raises Overloaded.
    """
    async with aclosing(pieces):
        if length > INLINE_MAX_BYTES:
            turn_of(request).download()
        return await _send_all(request, status, headers, length, pieces)


async def _send_all(
    request: web.BaseRequest,
    status: int,
    headers: Mapping[str, str],
    length: int,
    pieces: AsyncGenerator[memoryview, None],
) -> web.StreamResponse:
    first = await anext(pieces, None)
    if first is None and length:
        raise ShortBodyError(f"none of {length} bytes")
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    turn = turn_of(request)
    try:
        await response.prepare(request)
        left = length
        if first is not None:
            left -= len(first)
            await _send(turn, response, first)
            async for piece in pieces:
                left -= len(piece)
                await _send(turn, response, piece)
        if left:
            raise ShortBodyError(f"all but {left} of {length} bytes")
        async with asyncio.timeout(SEND_IDLE_MAX_S):
            await response.write_eof()
    except BaseException:
        if request.transport is not None:
            request.transport.abort()  # never let a short body look complete
        raise
    return response


async def _send(turn: Turn, response: web.StreamResponse, piece: memoryview) -> None:
    turn.pause()
    try:
        async with asyncio.timeout(SEND_IDLE_MAX_S):
            await response.write(piece)
    finally:
        turn.resume()
