"""Objects: COPY with Destination, and PUT with X-Copy-From; whole, a range, or a manifest itself."""

from contextlib import aclosing, closing
from typing import Final
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web

from proxy.core.contract import Store
from proxy.core.errors import Conflict, PreconditionFailed
from proxy.core.types import (
    Conditions,
    Container,
    ObjectAttributes,
    ObjectInfo,
    OpenObject,
)
from proxy.http_conditions import format_date
from proxy.http_ranges import ByteRange, ranges_of
from proxy.swift import slo
from proxy.swift.access import Need, open_container
from proxy.swift.errors import BAD_NAME, bad_request, precondition_failed
from proxy.swift.headers import check_conditions, etag_header, modified_s, object_headers
from proxy.swift.metadata import (
    MANIFEST_HEADER,
    content_headers,
    content_type_of,
    delete_at,
    manifest_prefix,
    refuse_absent_features,
    user_metadata,
)
from proxy.swift.request import SwiftRequest, Target, check_object_name

COPY_TRIES: Final = 4
"""How often a copy begins anew because its source was changed under it."""

_ANSWER_LEFT_OUT: Final = ("Content-Type", "Accept-Ranges", "X-Timestamp")


async def copy_object(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """COPY: the target of the request is the source, Destination says where to."""
    refuse_absent_features(request.headers, request.query)
    location = request.headers.get("Destination")
    if not location:
        raise precondition_failed("Destination header required")
    account = parse_account(request.header("Destination-Account")) or request.target.account
    target = Target(account, *parse_location(location, "Destination"))
    check_object_name(target.name)
    return await _copy(store, request, request.target, target)


async def put_copy(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """PUT with X-Copy-From: the target of the request is the target."""
    if request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers:
        raise bad_request("Copy requests require a zero byte body")
    account = parse_account(request.header("X-Copy-From-Account")) or request.target.account
    source = Target(account, *parse_location(request.header("X-Copy-From"), "X-Copy-From"))
    return await _copy(store, request, source, request.target)


def parse_location(value: str, header: str) -> tuple[str, str]:
    """Container and object of a percent-encoded `[/]container/object`. Raises SwiftError 412."""
    text = _unquoted(value).removeprefix("/")
    container, _, name = text.partition("/")
    if not container or not name:
        form = "<container name>/<object name>"
        raise precondition_failed(f"{header} header must be of the form {form}")
    return container, name


def parse_account(value: str) -> str:
    """A percent-encoded account, "" for none. Raises SwiftError 412."""
    account = _unquoted(value)
    if "/" in account:
        raise precondition_failed("Account name cannot contain slashes")
    return account


def _unquoted(value: str) -> str:
    try:
        text = unquote(value.encode("utf-8", "surrogateescape"), errors="strict")
    except UnicodeDecodeError as error:
        raise precondition_failed(BAD_NAME) from error
    if "\0" in text:
        raise precondition_failed(BAD_NAME)
    return text


# -- the copy ----------------------------------------------------------------------------------------


async def _copy(
    store: Store, request: SwiftRequest, source: Target, target: Target
) -> web.StreamResponse:
    caller = request.caller
    origin = await open_container(store, caller, source.account, source.container, Need.READ)
    goal = await open_container(store, caller, target.account, target.container, Need.WRITE)
    for _ in range(COPY_TRIES):
        found = await store.head_object(origin, source.name)
        check_conditions(request.headers, found.head.etag, found.head, {})
        try:
            made = await _copy_seen(store, request, (origin, found), (goal, target.name))
        except PreconditionFailed:  # the source is another one by now: its metadata, too
            continue
        return _answer(request, source, found, made)
    raise Conflict("the source changes too often")


async def _copy_seen(
    store: Store,
    request: SwiftRequest,
    source: tuple[Container, ObjectInfo],
    target: tuple[Container, str],
) -> ObjectInfo:
    """Copy exactly the version that was seen. Raises PreconditionFailed where it is gone."""
    found = source[1]
    attributes = copied_attributes(request, found, target[1])
    if request.query.get("multipart-manifest") == "get" and found.head.kind:
        return await _copy_manifest(store, request, source, target, attributes)
    if "Range" in request.headers:
        return await _copy_range(store, request, source, target, attributes)
    seen = Conditions(if_match=(found.head.etag,))
    return await store.copy_object(source[0], found.name, *target, attributes, source_conditions=seen)


async def _copy_manifest(
    store: Store,
    request: SwiftRequest,
    source: tuple[Container, ObjectInfo],
    target: tuple[Container, str],
    attributes: ObjectAttributes,
) -> ObjectInfo:
    """Copy a manifest as what it is itself."""
    if source[1].head.kind == "slo":
        return await slo.copy_manifest(store, request.caller, source, target, attributes)
    prefix = source[1].head.headers.get(MANIFEST_HEADER, "")
    attributes = msgspec.structs.replace(
        attributes, kind="dlo", headers={MANIFEST_HEADER: prefix, **attributes.headers}
    )
    with closing(await store.open_object(source[0], source[1].name, raw=True)) as opened:
        whole = ByteRange(0, opened.info.head.size_bytes)
        async with aclosing(RangeBody(opened, whole)) as body:
            return await store.put_object(*target, body, attributes)


async def _copy_range(
    store: Store,
    request: SwiftRequest,
    source: tuple[Container, ObjectInfo],
    target: tuple[Container, str],
    attributes: ObjectAttributes,
) -> ObjectInfo:
    with closing(await store.open_object(source[0], source[1].name)) as opened:
        ranges = ranges_of(request.header("Range"), opened.info.head.size_bytes)
        if ranges is None or len(ranges) != 1:
            raise bad_request("A copy takes one range")
        if opened.info.version != source[1].version:
            raise PreconditionFailed("source")
        async with aclosing(RangeBody(opened, ranges[0])) as body:
            return await store.put_object(*target, body, attributes)


class RangeBody:
    """A range of an open object as the body of a write."""

    def __init__(self, opened: OpenObject, wanted: ByteRange) -> None:
        self.size_bytes: int | None = wanted.length
        self._pieces = opened.stream(wanted.offset, wanted.length)

    async def read(self) -> memoryview:
        """The next piece, empty at the end. Raises as `OpenObject.stream`."""
        return await anext(self._pieces, memoryview(b""))

    async def read_all(self) -> bytes:
        """The whole range."""
        return b"".join([bytes(piece) async for piece in self._pieces])

    def finish(self) -> dict[str, str]:
        """A copy promises no checksums of its own."""
        return {}

    async def aclose(self) -> None:
        """Stop reading."""
        await self._pieces.aclose()


def copied_attributes(request: SwiftRequest, found: ObjectInfo, name: str) -> ObjectAttributes:
    """What a copy says of itself: as its source, with the request's metadata over it; with
    X-Fresh-Metadata the request's alone. A content type is the source's unless one is given."""
    head = found.head
    fresh = request.flag("X-Fresh-Metadata")
    headers = {} if fresh else {k: v for k, v in head.headers.items() if k != MANIFEST_HEADER}
    headers |= content_headers(request.headers)
    manifest = manifest_prefix(request.headers)
    if manifest:
        headers[MANIFEST_HEADER] = manifest
    asked = request.header("Content-Type") or request.flag("X-Detect-Content-Type")
    expiry_s = delete_at(request.headers, request.now_s)
    return ObjectAttributes(
        content_type=content_type_of(request.headers, name) if asked else head.content_type,
        headers=headers,
        meta=({} if fresh else head.meta) | user_metadata(request.headers, "object"),
        delete_at_s=expiry_s or (0 if fresh else head.delete_at_s),
        kind="dlo" if manifest else "",
    )


def _answer(request: SwiftRequest, source: Target, found: ObjectInfo, made: ObjectInfo) -> web.Response:
    shown = {k: v for k, v in object_headers(made.head).items() if k not in _ANSWER_LEFT_OUT}
    headers = {
        **shown,
        "Etag": etag_header(made.head),
        "X-Copied-From": quote(f"{source.container}/{source.name}"),
        "X-Copied-From-Account": quote(source.account),
        "X-Copied-From-Last-Modified": format_date(modified_s(found.head)),
    }
    return request.answer(201, b"", headers)
