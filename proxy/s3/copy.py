"""CopyObject and UploadPartCopy: copies within the store, without a byte through the client."""

from contextlib import aclosing
from typing import NamedTuple

from aiohttp import web

from proxy.auth.checksums import ChecksumAlgorithm, parse_algorithm
from proxy.core.errors import ObjectTooLarge
from proxy.core.types import (
    NO_CONDITIONS,
    OBJECT_PUT_MAX_BYTES,
    Conditions,
    Container,
    ObjectAttributes,
    ObjectHead,
    ObjectInfo,
    OpenObject,
)
from proxy.s3 import xml
from proxy.s3.answer import Answer
from proxy.s3.body import CopiedBody
from proxy.s3.conditions import check_source, parse_copy_range, source_conditions, write_conditions
from proxy.s3.context import Access, Context, bucket_for, check_owner
from proxy.s3.errors import S3Error, invalid_argument
from proxy.s3.headers import read_attributes
from proxy.s3.names import parse_copy_source
from proxy.s3.reply import long_answer, xml_answer
from proxy.s3.request import S3Request
from proxy.s3.times import whole_seconds, xml_date


class Copy(NamedTuple):
    """What is to be copied where. attributes: None for those of the source; algorithm: of a checksum
    that the copy must have."""

    source: Container
    source_key: str
    target: Container
    attributes: ObjectAttributes | None
    conditions: Conditions
    algorithm: ChecksumAlgorithm | None


async def source_of(context: Context, request: S3Request) -> tuple[Container, str]:
    """The bucket and key that x-amz-copy-source names, if the user may read there.

    Raises NotAuthorized, NoSuchContainer, S3Error.
    """
    bucket, key = parse_copy_source(request.amz["x-amz-copy-source"])
    container = await bucket_for(context, request, bucket, Access.READ)
    check_owner(request.amz.get("x-amz-source-expected-bucket-owner"), container)
    return container, key


async def copy_object(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """PUT with x-amz-copy-source."""
    source, source_key = await source_of(context, request)
    attributes = _attributes(request)
    conditions = write_conditions(request.headers)
    itself = source.head.id == container.head.id and source_key == request.key
    if itself and attributes is None and "x-amz-checksum-algorithm" not in request.amz:
        message = "A copy of an object to itself must change its metadata: x-amz-metadata-directive."
        raise S3Error("InvalidRequest", message)
    if itself and attributes is not None and await _is_only_update(context, request, container):
        info = await context.store.update_object(container, request.key, attributes)
        return _copy_answer(request, info.head)
    copy = Copy(source, source_key, container, attributes, conditions, _algorithm(request))
    work = _copied(context, request, copy)
    return await long_answer(request, work)


async def _is_only_update(context: Context, request: S3Request, container: Container) -> bool:
    """Is a copy of an object to itself a change of its metadata alone, so that its bytes may stay?

    Conditions are checked where the bytes are written; a manifest of Swift's is to become an object.
    """
    if write_conditions(request.headers) is not NO_CONDITIONS or _algorithm(request) is not None:
        return False
    if source_conditions(request.amz) is not NO_CONDITIONS:
        return False
    info = await context.store.head_object(container, request.key)
    return info.head.kind == ""


def _attributes(request: S3Request) -> ObjectAttributes | None:
    """What the copy is to have; None for what the source has."""
    directive = request.amz.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument(
            "x-amz-metadata-directive", directive, "The directive must be COPY or REPLACE."
        )
    return read_attributes(request) if directive == "REPLACE" else None


def _algorithm(request: S3Request) -> ChecksumAlgorithm | None:
    name = request.amz.get("x-amz-checksum-algorithm")
    return None if name is None else parse_algorithm(name)


async def _copied(context: Context, request: S3Request, copy: Copy) -> Answer:
    """The core copies; only a checksum that the source lacks needs the bytes to pass through here."""
    if_source = source_conditions(request.amz)
    opened = await context.store.open_object(copy.source, copy.source_key)
    try:
        head = opened.info.head
        if head.size_bytes > OBJECT_PUT_MAX_BYTES:
            raise S3Error(
                "InvalidRequest", f"A copy's source may have at most {OBJECT_PUT_MAX_BYTES} bytes."
            )
        check_source(if_source, head)
        if copy.algorithm is not None and not _has_full_checksum(head, copy.algorithm):
            info = await _rewritten(context, request.key, opened, copy)
            return _copy_answer(request, info.head)
    finally:
        opened.close()
    info = await context.store.copy_object(
        copy.source,
        copy.source_key,
        copy.target,
        request.key,
        copy.attributes,
        source_conditions=if_source,
        conditions=copy.conditions,
    )
    return _copy_answer(request, info.head)


def _has_full_checksum(head: ObjectHead, algorithm: ChecksumAlgorithm) -> bool:
    return algorithm.value in head.checksums and head.checksum_type != "COMPOSITE"


async def _rewritten(context: Context, key: str, opened: OpenObject, copy: Copy) -> ObjectInfo:
    head, attributes = opened.info.head, copy.attributes
    if attributes is None:
        attributes = ObjectAttributes(head.content_type, head.headers, head.meta, head.delete_at_s)
    async with aclosing(CopiedBody(opened, 0, head.size_bytes, copy.algorithm)) as body:
        return await context.store.put_object(
            copy.target,
            key,
            body,
            attributes,
            conditions=copy.conditions,
            checksum_type="FULL_OBJECT",
        )


def _copy_answer(request: S3Request, head: ObjectHead) -> Answer:
    content = copied_elements(head.modified_ns, head.etag, head.checksums)
    return xml_answer(request, "CopyObjectResult", content + xml.optional("ChecksumType", _type(head)))


def _type(head: ObjectHead) -> str:
    return head.checksum_type if head.checksums else ""


def copied_elements(modified_ns: int, etag: str, checksums: dict[str, str]) -> str:
    """What CopyObjectResult and CopyPartResult have in common."""
    rows = "".join(xml.element(f"Checksum{name}", value) for name, value in checksums.items())
    date = xml.element("LastModified", xml_date(whole_seconds(modified_ns)))
    return f"{date}{xml.etag(etag)}{rows}"


async def copied_part(
    context: Context,
    request: S3Request,
    container: Container,
    number: int,
    algorithm: ChecksumAlgorithm | None,
) -> Answer:
    """UploadPartCopy: (a range of) an object becomes a part.

    Raises NoSuchObject, PreconditionFailed, RangeNotSatisfiable, ObjectTooLarge.
    """
    source, source_key = await source_of(context, request)
    opened = await context.store.open_object(source, source_key)
    try:
        head = opened.info.head
        check_source(source_conditions(request.amz), head)
        offset, length = 0, head.size_bytes
        if (text := request.amz.get("x-amz-copy-source-range")) is not None:
            offset, length = parse_copy_range(text, head.size_bytes)
        if length > OBJECT_PUT_MAX_BYTES:
            raise ObjectTooLarge(length, OBJECT_PUT_MAX_BYTES)
        upload_id = request.query["uploadId"]
        async with aclosing(CopiedBody(opened, offset, length, algorithm)) as body:
            part = await context.store.put_part(container, request.key, upload_id, number, body)
    finally:
        opened.close()
    content = copied_elements(part.modified_ns, part.etag, part.checksums)
    return xml_answer(request, "CopyPartResult", content)
