"""The add-on's one port: finds the service of a path, hands the request over, writes the answer.

A service is mounted under several prefixes (`/identity` and, as Keystone's clients expect it on its own
port, none). Bodies are read whole here, up to a bound, or handed on as they come where a service asks.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from compute.server.errors import ApiError, BadRequest, TooLarge
from compute.server.request import Answer, Request
from runtime.randomness import Randomness

BODY_MAX_BYTES: Final = 114_688
"""Keystone's own bound."""
CHUNK_BYTES: Final = 256 * 1024

JSON: Final = "application/json"
log = logging.getLogger("atoll.cloud")


class Service(Protocol):
    """An API of the add-on."""

    def streams(self, method: str, path: str) -> bool:
        """Whether the body of such a request is handed over as it comes."""

    async def answer(self, request: Request) -> Answer:
        """The answer, refusals included. Raises only what is a fault of ours."""

    def refused(self, request: Request, error: ApiError) -> Answer:
        """The answer to what was refused before it was looked at."""


class Mount(NamedTuple):
    """A service and a prefix of its paths, without a last slash."""

    prefix: str
    service: Service


class CloudApp:
    """Handles every request of the add-on's port. mounts: the longest fitting prefix wins."""

    def __init__(self, mounts: Sequence[Mount], randomness: Randomness) -> None:
        self._mounts = sorted(mounts, key=lambda mount: -len(mount.prefix))
        self._randomness = randomness

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        mount = self._mount(http.path)
        request = self._request(http, mount.prefix, b"")
        try:
            if mount.service.streams(request.method, request.path):
                request = request._replace(stream=_chunks(http))
            else:
                request = request._replace(body=await _body(http))
            answer = await mount.service.answer(request)
        except ApiError as error:
            answer = mount.service.refused(request, error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("%s %s failed", http.method, http.path)
            fault = ApiError("An unexpected error prevented the server from fulfilling your request.")
            answer = mount.service.refused(request, fault)
        if answer.stream is not None:
            return await _send(http, request, answer, answer.stream)
        return web.Response(status=answer.status, body=answer.body, headers=_headers(request, answer))

    def _mount(self, path: str) -> Mount:
        for mount in self._mounts:
            if path == mount.prefix or path.startswith(f"{mount.prefix}/"):
                return mount
        return self._mounts[-1]

    def _request(self, http: web.BaseRequest, prefix: str, body: bytes) -> Request:
        return Request(
            http.method,
            http.path.removeprefix(prefix) or "/",
            MultiDictProxy(MultiDict(http.query)),
            http.headers,
            body,
            f"{http.scheme}://{http.host}{prefix}",
            f"req-{self._randomness.token(16).hex()}",
        )


async def _body(http: web.BaseRequest) -> bytes:
    """Raises TooLarge, BadRequest."""
    if (http.content_length or 0) > BODY_MAX_BYTES:
        raise TooLarge("Request is too large.")
    if not http.body_exists:
        return b""
    try:
        body = await http.content.read(BODY_MAX_BYTES + 1)
        while len(body) <= BODY_MAX_BYTES and (more := await http.content.read(BODY_MAX_BYTES)):
            body += more
    except (web.RequestPayloadError, ValueError) as error:
        raise BadRequest("The request's body could not be read.") from error
    if len(body) > BODY_MAX_BYTES:
        raise TooLarge("Request is too large.")
    return body


async def _chunks(http: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes. Raises ConnectionError where it breaks off."""
    try:
        while chunk := await http.content.read(CHUNK_BYTES):
            yield chunk
    except (web.RequestPayloadError, ValueError) as error:
        raise ConnectionResetError("the request's body broke off") from error


async def _send(
    http: web.BaseRequest, request: Request, answer: Answer, stream: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send a stream. Where it breaks off, so does the connection, so that the client sees it."""
    response = web.StreamResponse(status=answer.status, headers=_headers(request, answer))
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(stream, AsyncGenerator):
            stack.push_async_callback(stream.aclose)
        await response.prepare(http)
        if http.method != "HEAD":
            try:
                async for chunk in stream:
                    await response.write(chunk)
            except (asyncio.CancelledError, ConnectionError):
                raise
            except Exception:
                log.exception("%s %s broke off", http.method, http.path)
                if http.transport is not None:
                    http.transport.abort()
                raise ConnectionResetError("the answer broke off") from None
        await response.write_eof()
    return response


def _headers(request: Request, answer: Answer) -> dict[str, str]:
    headers = {
        "x-openstack-request-id": request.request_id,
        "Vary": "X-Auth-Token",
        **answer.headers,
    }
    if answer.body is not None:
        headers.setdefault("Content-Type", JSON)
    return headers
