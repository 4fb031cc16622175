"""The add-on's one port: finds the service of a path, hands the request over, writes the answer.

A service is mounted under several prefixes (`/identity` and, as Keystone's clients expect it on its own
port, none). Bodies are read whole here, up to a bound; a service with streams takes them itself.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from compute.server.errors import ApiError, BadRequest, TooLarge
from compute.server.request import Answer, Request
from runtime.randomness import Randomness

BODY_MAX_BYTES: Final = 114_688
"""Keystone's own bound."""

JSON: Final = "application/json"
log = logging.getLogger("atoll.cloud")


class Service(Protocol):
    """An API of the add-on."""

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
            answer = await mount.service.answer(request._replace(body=await _body(http)))
        except ApiError as error:
            answer = mount.service.refused(request, error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("%s %s failed", http.method, http.path)
            fault = ApiError("An unexpected error prevented the server from fulfilling your request.")
            answer = mount.service.refused(request, fault)
        return _response(http, request, answer)

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


def _response(http: web.BaseRequest, request: Request, answer: Answer) -> web.Response:
    headers = {
        "x-openstack-request-id": request.request_id,
        "Vary": "X-Auth-Token",
        **answer.headers,
    }
    if answer.body is not None:
        headers.setdefault("Content-Type", JSON)
    return web.Response(status=answer.status, body=answer.body, headers=headers)
