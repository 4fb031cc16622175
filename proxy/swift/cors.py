"""Cross-origin requests: OPTIONS, and what a browser needs on answers.

Source: the Swift manual, "CORS", with strict mode: a container's owner names the allowed origins in
X-Container-Meta-Access-Control-Allow-Origin; without it no header is sent.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer
from proxy.swift import account, container
from proxy.swift.errors import SwiftError
from proxy.swift.request import EXPOSE, SwiftRequest

OBJECT_METHODS: Final = ("COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")
_EXPOSED: Final = (
    "cache-control",
    "content-language",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "x-openstack-request-id",
    "x-timestamp",
    "x-trans-id",
)
_ORIGIN: Final = "access-control-allow-origin"
_MAX_AGE: Final = "access-control-max-age"
_EXPOSE: Final = "access-control-expose-headers"


def allowed_methods(request: SwiftRequest) -> tuple[str, ...]:
    """The methods of the level that a request is about."""
    if request.target.name:
        return OBJECT_METHODS
    return container.ALLOWED if request.target.container else account.ALLOWED


def origin_allowed(meta: Mapping[str, str], origin: str) -> bool:
    """True where the container's owner allows pages of this origin."""
    allowed = meta.get(_ORIGIN, "").split()
    return origin in allowed or "*" in allowed


async def answer_options(store: Store, request: SwiftRequest) -> web.Response:
    """OPTIONS: the methods; with an Origin a preflight, 401 where it is not allowed."""
    methods = allowed_methods(request)
    origin = request.header("Origin")
    if not origin:
        return request.answer(200, b"", {"Allow": ", ".join(methods)})
    meta = await _container_meta(store, request)
    if not origin_allowed(meta, origin):
        raise SwiftError(401, headers={"Allow": ", ".join(methods)})
    if request.header("Access-Control-Request-Method") not in methods:
        raise SwiftError(401, headers={"Allow": ", ".join(methods)})
    return request.answer(200, b"", preflight_headers(meta, request.headers, methods))


def preflight_headers(
    meta: Mapping[str, str], headers: Mapping[str, str], methods: tuple[str, ...]
) -> dict[str, str]:
    """What an allowed preflight is answered with."""
    result = {
        "Allow": ", ".join(methods),
        "Access-Control-Allow-Methods": ", ".join(methods),
        **_origin_headers(meta, headers["Origin"]),
    }
    if meta.get(_MAX_AGE):
        result["Access-Control-Max-Age"] = meta[_MAX_AGE]
    if asked := headers.get("Access-Control-Request-Headers"):
        result["Access-Control-Allow-Headers"] = asked
    return result


async def headers_for_origin(store: Store, request: SwiftRequest) -> dict[str, str]:
    """The headers that a page of the request's origin needs to read the answer; none without one."""
    origin = request.header("Origin")
    if not origin or not request.target.container:
        return {}
    meta = await _container_meta(store, request)
    if not origin_allowed(meta, origin):
        return {}
    exposed = [*_EXPOSED, *meta.get(_EXPOSE, "").split()]
    return {
        **_origin_headers(meta, origin),
        EXPOSE: ", ".join(exposed),
    }


def _origin_headers(meta: Mapping[str, str], origin: str) -> dict[str, str]:
    if "*" in meta.get(_ORIGIN, "").split():
        return {"Access-Control-Allow-Origin": "*"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


async def _container_meta(store: Store, request: SwiftRequest) -> Mapping[str, str]:
    if not request.target.container:
        return {}
    try:
        found = await store.container(request.target.account, request.target.container, fresh=True)
    except NoSuchContainer:
        return {}
    return found.head.meta
