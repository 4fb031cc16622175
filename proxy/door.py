"""The one public port: picks the front end of each request, and counts it.

S3 takes what carries AWS authentication, and every path that is not Swift's own.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web

from runtime.telemetry import Telemetry

SWIFT_PATHS: Final = ("/v1/", "/auth/", "/info", "/healthcheck", "/endpoints", "/v1")
_SWIFT_EXACT: Final = ("/info", "/healthcheck", "/endpoints", "/v1")

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FrontEnd(Protocol):
    """An API on the public port."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, errors included."""


def is_swift(target: str, authorization: str) -> bool:
    """Whether a request is Swift's. target: as on the wire; authorization: that header, "" for none."""
    if not target.startswith(SWIFT_PATHS) or authorization.startswith("AWS"):
        return False
    path, _, query = target.partition("?")
    if path.startswith(("/info", "/healthcheck", "/endpoints")) or path == "/v1":
        if path not in _SWIFT_EXACT and not path.startswith("/endpoints/"):
            return False
    return not ("X-Amz-Signature=" in query or "AWSAccessKeyId=" in query)


class Door:
    """Handles every request of one worker's public port."""

    def __init__(self, s3: FrontEnd, swift: FrontEnd, telemetry: Telemetry) -> None:
        self._s3 = s3.handle
        self._swift = swift.handle
        self._telemetry = telemetry
        self.under_way = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        begun = time.perf_counter()
        swift = is_swift(request.raw_path, request.headers.get("Authorization", ""))
        self.under_way += 1
        status = 499  # the client went away before there was an answer
        try:
            response = await (self._swift if swift else self._s3)(request)
            status = response.status
            return response
        finally:
            self.under_way -= 1
            elapsed = time.perf_counter() - begun
            self._telemetry.request("swift" if swift else "s3", request.method, status, elapsed)
