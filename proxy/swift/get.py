"""Objects: GET and HEAD, with conditions and ranges (one, or many as multipart/byteranges)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from typing import Final

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.errors import RangeNotSatisfiable
from proxy.core.types import Container, ObjectHead, ObjectInfo, OpenObject
from proxy.http import send_stream
from proxy.http_conditions import range_wanted
from proxy.http_ranges import ByteRange, ranges_of
from proxy.swift import dlo, slo, tempurl
from proxy.swift.access import Need, open_container
from proxy.swift.errors import SwiftError
from proxy.swift.headers import check_conditions, etag_header, modified_s, object_headers
from proxy.swift.request import HTML, SwiftRequest

_BOUNDARY_CHARS: Final = 32


async def get_object(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """GET and HEAD of an object; a manifest answers as what it stands for, unless asked for itself."""
    account, container_name, name = request.target
    container = await open_container(store, request.caller, account, container_name, Need.READ)
    if request.query.get("multipart-manifest") == "get":
        manifest = await slo.get_manifest(store, request, container)
        if manifest is not None:
            return manifest
        return await _open_and_send(store, request, container, raw=True)
    if request.method == "HEAD":
        info = await store.head_object(container, name)
        await dlo.require_access(store, request, info.head)
        return answer_head(request, info)
    return await _open_and_send(store, request, container)


async def _open_and_send(
    store: Store, request: SwiftRequest, container: Container, *, raw: bool = False
) -> web.StreamResponse:
    opened = await store.open_object(container, request.target.name, raw=raw)
    with closing(opened):
        if not raw:
            await dlo.require_access(store, request, opened.info.head)
        if request.method == "HEAD":
            return answer_head(request, opened.info)
        return await send_object(request, opened)


# -- headers and conditions --------------------------------------------------------------------------


def shown_headers(request: SwiftRequest, head: ObjectHead) -> dict[str, str]:
    """The object's headers as this caller may see them; the bearer of a signed URL sees fewer."""
    headers = object_headers(head)
    if request.caller.grant is None:
        return headers
    extra = tempurl.response_headers(tempurl.parse(request.query), request.target)
    return {**tempurl.public_headers(headers), **extra}


def answer_head(request: SwiftRequest, info: ObjectInfo) -> web.Response:
    """The answer to HEAD: the headers of GET with the length of the whole."""
    headers = shown_headers(request, info.head)
    check_conditions(request.headers, info.head.etag, info.head, headers)
    response = request.answer(200, b"", headers, headers.get("Content-Type", HTML))
    response.headers["Content-Length"] = str(info.head.size_bytes)
    return response


# -- bodies ------------------------------------------------------------------------------------------


async def send_object(request: SwiftRequest, opened: OpenObject) -> web.StreamResponse:
    """Send what the request asks for of an open object. Raises SwiftError, RangeNotSatisfiable, and
    as `OpenObject.stream` does before the first byte is sent."""
    head = opened.info.head
    headers = shown_headers(request, head)
    check_conditions(request.headers, head.etag, head, headers)
    ranges = _wanted_ranges(request, head)
    if ranges is None:
        return await _send_range(request, opened, 200, headers, ByteRange(0, head.size_bytes))
    if len(ranges) == 1:
        headers["Content-Range"] = ranges[0].content_range(head.size_bytes)
        return await _send_range(request, opened, 206, headers, ranges[0])
    return await _send_ranges(request, opened, headers, ranges)


def _wanted_ranges(request: SwiftRequest, head: ObjectHead) -> list[ByteRange] | None:
    if not range_wanted(request.headers.get("If-Range"), head.etag, modified_s(head)):
        return None
    try:
        return ranges_of(request.headers.get("Range"), head.size_bytes)
    except RangeNotSatisfiable as error:
        headers = {"Content-Range": f"bytes */{head.size_bytes}", "Etag": etag_header(head)}
        raise SwiftError(416, headers=headers) from error


async def _send_range(
    request: SwiftRequest,
    opened: OpenObject,
    status: int,
    headers: Mapping[str, str],
    wanted: ByteRange,
) -> web.StreamResponse:
    if opened.inline is not None:
        body = opened.inline[wanted.offset : wanted.offset + wanted.length]
        return request.answer(status, body, headers, headers["Content-Type"])
    pieces = opened.stream(wanted.offset, wanted.length)
    return await send_stream(
        request.http, status, request.answer_headers(headers), wanted.length, pieces
    )


async def _send_ranges(
    request: SwiftRequest, opened: OpenObject, headers: dict[str, str], ranges: list[ByteRange]
) -> web.StreamResponse:
    """Several ranges as multipart/byteranges (RFC 9110, 14.6)."""
    boundary = boundary_for(request.common["X-Trans-Id"])
    size_bytes = opened.info.head.size_bytes
    openings = [part_opening(boundary, headers["Content-Type"], part, size_bytes) for part in ranges]
    end = f"--{boundary}--".encode()
    length = sum(map(len, openings)) + sum(part.length + 2 for part in ranges) + len(end)
    headers["Content-Type"] = f"multipart/byteranges;boundary={boundary}"
    pieces = _multipart(opened, list(zip(openings, ranges, strict=True)), end)
    return await send_stream(request.http, 206, request.answer_headers(headers), length, pieces)


def boundary_for(trans_id: str) -> str:
    """A boundary from the transaction's random id, which the data hold only by chance."""
    return trans_id.replace("-", "")[:_BOUNDARY_CHARS]


def part_opening(boundary: str, content_type: str, part: ByteRange, size_bytes: int) -> bytes:
    """What goes before the bytes of one part."""
    content_range = part.content_range(size_bytes)
    lines = (f"--{boundary}", f"Content-Type: {content_type}", f"Content-Range: {content_range}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _multipart(
    opened: OpenObject, parts: list[tuple[bytes, ByteRange]], end: bytes
) -> AsyncGenerator[memoryview, None]:
    for opening, part in parts:
        yield memoryview(opening)
        async with aclosing(opened.stream(part.offset, part.length)) as pieces:
            async for piece in pieces:
                yield piece
        yield memoryview(b"\r\n")
    yield memoryview(end)
