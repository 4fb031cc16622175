"""GetObjectAttributes."""

from typing import Final

from aiohttp import web

from proxy.core.types import Container, ObjectHead, Part
from proxy.s3 import xml
from proxy.s3.context import Context
from proxy.s3.errors import S3Error, invalid_argument
from proxy.s3.refusals import refuse_version
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request, parse_number
from proxy.s3.times import http_date, whole_seconds

PARTS_PAGE_MAX: Final = 1000

_NAMES = frozenset(("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"))


async def get_attributes(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?attributes: what x-amz-object-attributes asks for."""
    refuse_version(request.query.get("versionId"))
    wanted = _wanted(request.amz.get("x-amz-object-attributes", ""))
    marker = parse_number(
        "x-amz-part-number-marker", request.amz.get("x-amz-part-number-marker"), 0, 0, 2**31 - 1
    )
    limit = parse_number(
        "x-amz-max-parts", request.amz.get("x-amz-max-parts"), PARTS_PAGE_MAX, 0, 2**31
    )
    opened = await context.store.open_object(container, request.key)
    try:
        head, parts = opened.info.head, opened.parts
    finally:
        opened.close()
    content = _content(head, wanted)
    if "ObjectParts" in wanted and head.parts:
        content += _object_parts(parts, marker, min(limit, PARTS_PAGE_MAX))
    headers = {"Last-Modified": http_date(whole_seconds(head.modified_ns))}
    return xml_answer(request, "GetObjectAttributesResponse", content, headers=headers)


def _wanted(text: str) -> frozenset[str]:
    """Raises S3Error InvalidRequest, InvalidArgument."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise S3Error("InvalidRequest", "The request needs the header x-amz-object-attributes.")
    if unknown := sorted(names - _NAMES):
        raise invalid_argument("x-amz-object-attributes", unknown[0], "There is no such attribute.")
    return names


def _content(head: ObjectHead, wanted: frozenset[str]) -> str:
    """All but the parts; the ETag has no quotes here."""
    content = ""
    if "ETag" in wanted:
        content += xml.element("ETag", head.etag)
    if "Checksum" in wanted and head.checksums:
        kind = xml.optional("ChecksumType", head.checksum_type)
        content += f"<Checksum>{_checksums(head.checksums)}{kind}</Checksum>"
    if "StorageClass" in wanted:
        content += "<StorageClass>STANDARD</StorageClass>"
    if "ObjectSize" in wanted:
        content += xml.element("ObjectSize", head.size_bytes)
    return content


def _object_parts(parts: list[Part], marker: int, limit: int) -> str:
    """The number of parts, and those with checksums in a page after `marker`."""
    total = xml.element("PartsCount", len(parts))
    listed = [part for part in parts if part.checksums]
    if not listed:
        return f"<ObjectParts>{total}</ObjectParts>"
    rest = [part for part in listed if part.number > marker]
    page = rest[:limit]
    following = page[-1].number if page else marker
    truncated = "true" if len(rest) > len(page) else "false"
    rows = "".join(
        f"<Part>{_checksums(part.checksums)}{xml.element('PartNumber', part.number)}"
        f"{xml.element('Size', part.size_bytes)}</Part>"
        for part in page
    )
    return (
        f"<ObjectParts>{xml.element('IsTruncated', truncated)}{xml.element('MaxParts', limit)}"
        f"{xml.element('NextPartNumberMarker', following)}{xml.element('PartNumberMarker', marker)}"
        f"{rows}{total}</ObjectParts>"
    )


def _checksums(checksums: dict[str, str]) -> str:
    return "".join(xml.element(f"Checksum{name}", value) for name, value in checksums.items())
