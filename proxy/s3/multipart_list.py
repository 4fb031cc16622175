"""ListParts and ListMultipartUploads."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.core.types import (
    PART_NUMBER_MAX,
    Container,
    ListQuery,
    PartHead,
    UploadHead,
    UploadInfo,
    UploadPage,
)
from proxy.s3 import xml
from proxy.s3.context import Context
from proxy.s3.list import container_owner, read_encoding
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request
from proxy.s3.times import whole_seconds, xml_date

PARTS_PAGE_MAX: Final = 1000
UPLOADS_PAGE_MAX: Final = 1000
PAGE_PARAMETER_MAX: Final = 2**31 - 1


async def list_parts(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """GET ?uploadId."""
    asked = request.number("max-parts", PARTS_PAGE_MAX, 0, PAGE_PARAMETER_MAX)
    limit = min(asked, PARTS_PAGE_MAX)
    marker = request.number("part-number-marker", 0, 0, PAGE_PARAMETER_MAX)
    upload_id = request.query["uploadId"]
    page = await context.store.list_parts(
        container, request.key, upload_id, min(marker, PART_NUMBER_MAX), max(limit, 1)
    )
    parts = page.parts[:limit]
    truncated = page.truncated and limit > 0
    upload = page.upload
    following = parts[-1].number if parts else 0
    content = (
        f"{xml.element('Bucket', request.bucket)}{xml.element('Key', request.key)}"
        f"{xml.element('UploadId', upload_id)}{_people(container, upload)}"
        f"{xml.element('PartNumberMarker', marker)}{xml.element('NextPartNumberMarker', following)}"
        f"{xml.element('MaxParts', limit)}{xml.element('IsTruncated', _bool(truncated))}"
        f"{''.join(map(_part_row, parts))}{_checksum_rows(upload)}"
    )
    return xml_answer(request, "ListPartsResult", content)


def _part_row(part: PartHead) -> str:
    rows = "".join(xml.element(f"Checksum{name}", value) for name, value in part.checksums.items())
    date = xml_date(whole_seconds(part.modified_ns))
    return (
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{date}</LastModified>"
        f"{xml.etag(part.etag)}<Size>{part.size_bytes}</Size>{rows}</Part>"
    )


async def list_uploads(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?uploads of a bucket."""
    query = request.query
    limit = min(
        request.number("max-uploads", UPLOADS_PAGE_MAX, 1, PAGE_PARAMETER_MAX), UPLOADS_PAGE_MAX
    )
    encoding = read_encoding(request)
    spell = xml.url_encoded if encoding else xml.escape
    key_marker = query.get("key-marker", "")
    upload_marker = query.get("upload-id-marker", "") if key_marker else ""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    listing = ListQuery(prefix, delimiter, key_marker, "", limit)
    page = await context.store.list_uploads(container, listing, upload_marker)
    content = (
        f"{xml.element('Bucket', request.bucket)}<KeyMarker>{spell(key_marker)}</KeyMarker>"
        f"{xml.element('UploadIdMarker', upload_marker)}<Prefix>{spell(prefix)}</Prefix>"
    )
    if delimiter:
        content += f"<Delimiter>{spell(delimiter)}</Delimiter>"
    content += xml.optional("EncodingType", encoding) + xml.element("MaxUploads", limit)
    content += xml.element("IsTruncated", _bool(page.truncated))
    if page.truncated:
        content += f"<NextKeyMarker>{spell(page.next_key_marker)}</NextKeyMarker>"
        content += xml.element("NextUploadIdMarker", page.next_upload_marker)
    content += _upload_rows(container, page, spell)
    return xml_answer(request, "ListMultipartUploadsResult", content)


def _upload_rows(container: Container, page: UploadPage, spell: Callable[[str], str]) -> str:
    """Upload elements, then CommonPrefixes."""
    uploads, prefixes = [], []
    for entry in page.entries:
        if isinstance(entry, UploadInfo):
            uploads.append(_upload_row(container, entry.head, spell(entry.head.object_name)))
        else:
            prefixes.append(f"<CommonPrefixes><Prefix>{spell(entry)}</Prefix></CommonPrefixes>")
    return "".join(uploads) + "".join(prefixes)


def _upload_row(container: Container, upload: UploadHead, key: str) -> str:
    started = xml_date(whole_seconds(upload.started_ns))
    return (
        f"<Upload><Key>{key}</Key>{xml.element('UploadId', upload.id)}{_people(container, upload)}"
        f"<Initiated>{started}</Initiated>{_checksum_rows(upload)}</Upload>"
    )


def _people(container: Container, upload: UploadHead) -> str:
    initiator = xml.escape(upload.owner or container.account)
    return (
        f"<Initiator><ID>{initiator}</ID><DisplayName>{initiator}</DisplayName></Initiator>"
        f"{container_owner(container)}<StorageClass>STANDARD</StorageClass>"
    )


def _checksum_rows(upload: UploadHead) -> str:
    kind = xml.optional("ChecksumType", upload.checksum_type)
    return xml.optional("ChecksumAlgorithm", upload.checksum_algorithm) + kind


def _bool(value: bool) -> str:
    return "true" if value else "false"
