"""The one public port: picks the front end of each request, and counts it.

S3 takes what carries AWS authentication, and every path that is not Swift's own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.admission import Admission
from proxy.core.errors import Overloaded
from proxy.http import METHODS, READ_BUFFER_BYTES, TURN, VERB, content_length
from runtime.telemetry import Telemetry
from storage.types import INLINE_MAX_BYTES

SWIFT_ROOTS: Final = frozenset({"v1", "auth", "info", "healthcheck", "endpoints"})
HEALTH_CHECK: Final = "/healthcheck"
BODY_BUFFER_BYTES: Final = 2 * READ_BUFFER_BYTES
"""aiohttp stops reading from a socket when it holds this much of a body."""
ANSWER_WITHIN_S: Final = 1.0
"""What a drained request's answer may take to be sent."""
_ROOTS_ALONE: Final = frozenset({"info", "healthcheck"})

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FrontEnd(Protocol):
    """An API on the public port."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, errors included."""

    def refused(self, request: web.BaseRequest, error: Exception) -> web.StreamResponse:
        """The answer to a request that was refused before it was looked at."""


def is_swift(target: str, authorization: str) -> bool:
    """Whether a request is Swift's. target: as on the wire; authorization: that header, "" for none."""
    if authorization.startswith("AWS"):
        return False
    path, _, query = target.partition("?")
    root, _, rest = path.removeprefix("/").partition("/")
    if root not in SWIFT_ROOTS or (rest and root in _ROOTS_ALONE):
        return False
    return not ("X-Amz-Signature=" in query or "AWSAccessKeyId=" in query)


class Door:
    """Handles every request of one worker's public port."""

    def __init__(self, s3: FrontEnd, swift: FrontEnd, telemetry: Telemetry) -> None:
        self._s3 = s3
        self._swift = swift
        self._telemetry = telemetry
        self.admission = Admission(telemetry.event)
        self._busy: set[object] = set()  # connections with a request under way
        self._draining = False
        self._finished = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        begun = time.perf_counter()
        swift = is_swift(request.raw_path, request.headers.get("Authorization", ""))
        self._busy.add(request.protocol)
        status = 499  # the client went away before there was an answer
        try:
            response = await self._admit(request, self._swift if swift else self._s3)
            status = response.status
            return response
        finally:
            self._ended(request)
            elapsed = time.perf_counter() - begun
            verb = request.get(VERB) or (request.method if request.method in METHODS else "other")
            self._telemetry.request("swift" if swift else "s3", verb, status, elapsed)

    async def _admit(self, request: web.BaseRequest, to: FrontEnd) -> web.StreamResponse:
        """Wait for a turn, and end it with the request. A check of health needs none."""
        if request.raw_path == HEALTH_CHECK:
            return await to.handle(request)
        length = content_length(request)
        buffered = BODY_BUFFER_BYTES if length is None else min(length, BODY_BUFFER_BYTES)
        try:
            slot = await self.admission.enter(buffered)
        except Overloaded as error:
            return to.refused(request, error)
        try:
            if buffered > INLINE_MAX_BYTES:
                slot.upload()
            request[TURN] = slot
            return await to.handle(request)
        except Overloaded as error:
            return to.refused(request, error)
        finally:
            slot.end()

    def _ended(self, request: web.BaseRequest) -> None:
        self._busy.discard(request.protocol)
        if self._draining:
            request.protocol.close()
            if not self._busy:
                self._finished.set()

    async def drain(self, server: web.Server, timeout_s: float) -> None:
        """End idle connections now and the others after their request, at the latest after `timeout_s`.

        aiohttp's own shutdown would drop the rest of a body that is still being sent.
        """
        self._draining = True
        idle = [connection for connection in server.connections if connection not in self._busy]
        for connection in idle:
            connection.close()
        await asyncio.gather(*(connection.shutdown(ANSWER_WITHIN_S) for connection in idle))
        if self._busy:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._finished.wait()
            except TimeoutError:
                self._telemetry.event("drain_timeout")
        await server.shutdown(ANSWER_WITHIN_S)


class PublicPort(web.Server):
    """aiohttp's low-level server, with our answer to what is not HTTP."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed, in S3's form: nobody knows whose request it was.

        Not logged: anyone can send it. A 500 is a fault of ours and stays aiohttp's.
        """
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was under way")
        code = "BadRequest" if status == 400 else "InvalidRequest"
        text = "The HTTP request could not be parsed."
        body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
        declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
        response = web.Response(status=status, text=declaration + body, content_type="application/xml")
        response.force_close()
        return response
