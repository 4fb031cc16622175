"""GetObject and HeadObject: conditions, ranges, parts, overrides."""

from aiohttp import web

from proxy.auth.errors import NotAuthorized
from proxy.core.errors import NoSuchObject
from proxy.core.types import Container, ObjectHead, OpenObject
from proxy.http import send_stream
from proxy.http_ranges import ByteRange
from proxy.s3.answer import SERVER, Answer
from proxy.s3.conditions import is_modified, wanted_range
from proxy.s3.context import Access, Context, allowed
from proxy.s3.errors import S3Error
from proxy.s3.headers import checksum_headers, object_headers, override
from proxy.s3.refusals import refuse_version
from proxy.s3.request import S3Request, parse_part_number

_NOT_FOR_304 = frozenset(("Content-Type", "Accept-Ranges"))


async def get_object(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """GET: small objects as one answer, large ones streamed as they are verified."""
    opened = await _open(context, request, container)
    try:
        head = opened.info.head
        if request.conditional and not is_modified(request.headers, head):
            return _not_modified(request, head)
        status, span, fields = _representation(request, head, opened)
        if opened.inline is not None:
            body = opened.inline
            if span is not None:
                body = body[span.offset : span.offset + span.length]
            return Answer(status, fields, body, now_ns=request.now_ns)
        offset, length = (0, head.size_bytes) if span is None else span
        pieces = opened.stream(offset, length)
        fields["Server"] = SERVER
        return await send_stream(request.http, status, fields, length, pieces)
    finally:
        opened.close()


async def head_object(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """HEAD: as GET, without the bytes. Only a part number needs more than the row's head."""
    if "partNumber" in request.query:
        opened = await _open(context, request, container)
        try:
            return _head_answer(request, opened.info.head, opened)
        finally:
            opened.close()
    try:
        info = await context.store.head_object(container, request.key)
    except NoSuchObject:
        _hide_absence(request, container)
        raise
    return _head_answer(request, info.head, None)


def _head_answer(request: S3Request, head: ObjectHead, opened: OpenObject | None) -> Answer:
    if request.conditional and not is_modified(request.headers, head):
        return _not_modified(request, head)
    status, span, fields = _representation(request, head, opened)
    length = head.size_bytes if span is None else span.length
    return Answer(status, fields, length=length, now_ns=request.now_ns)


async def _open(context: Context, request: S3Request, container: Container) -> OpenObject:
    try:
        return await context.store.open_object(container, request.key)
    except NoSuchObject:
        _hide_absence(request, container)
        raise


def _hide_absence(request: S3Request, container: Container) -> None:
    """Who may not list the bucket does not learn which keys it lacks, as in S3."""
    referer = request.headers.get("Referer")
    signed = request.user is not None
    if not allowed(container, request.user, Access.LIST, referer, signed=signed):
        raise NotAuthorized


def _not_modified(request: S3Request, head: ObjectHead) -> Answer:
    fields = object_headers(request.request_id, head)
    kept = {name: value for name, value in fields.items() if name not in _NOT_FOR_304}
    return Answer(304, kept, now_ns=request.now_ns)


def _representation(
    request: S3Request, head: ObjectHead, opened: OpenObject | None
) -> tuple[int, ByteRange | None, dict[str, str]]:
    """Status, the span to send (None: all) and the headers without Content-Length."""
    fields = object_headers(request.request_id, head)
    span = None
    checksums = head.checksums
    if request.query:
        refuse_version(request.query.get("versionId"))
        override(fields, request)
        if opened is not None and "partNumber" in request.query:
            span, checksums = _part(request, opened, fields)
    if request.conditional and "Range" in request.headers:
        if "partNumber" in request.query:
            raise S3Error("InvalidRequest", "Range and partNumber exclude each other.")
        if (span := wanted_range(request.headers, head)) is not None:
            checksums = {}
    if checksums and request.amz.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        fields.update(checksum_headers(checksums, head.checksum_type))
    if span is None:
        return 200, None, fields
    fields["Content-Range"] = span.content_range(head.size_bytes)
    return 206, span, fields


def _part(
    request: S3Request, opened: OpenObject, fields: dict[str, str]
) -> tuple[ByteRange | None, dict[str, str]]:
    """The span and checksums of a part; a plain object is its own only part.

    Raises S3Error InvalidPartNumber.
    """
    number = parse_part_number(request.query["partNumber"])
    head = opened.info.head
    if not head.parts:
        if number != 1:
            raise S3Error("InvalidPartNumber", fields={"ActualPartCount": 1})
        return (ByteRange(0, head.size_bytes) if head.size_bytes else None), head.checksums
    if number > len(opened.parts):
        raise S3Error("InvalidPartNumber", fields={"ActualPartCount": len(opened.parts)})
    fields["x-amz-mp-parts-count"] = str(len(opened.parts))
    offset = sum(part.size_bytes for part in opened.parts[: number - 1])
    part = opened.parts[number - 1]
    span = ByteRange(offset, part.size_bytes) if part.size_bytes else None
    return span, part.checksums
