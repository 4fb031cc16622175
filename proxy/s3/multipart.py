"""Multipart uploads: begin, parts, complete, abort, and the two listings."""

from typing import Final
from urllib.parse import quote

from aiohttp import web

from proxy.auth.checksums import (
    ChecksumAlgorithm,
    allowed_types,
    parse_algorithm,
    parse_checksum_headers,
    parse_checksum_type,
)
from proxy.core.contract import Combine
from proxy.core.errors import NoSuchUpload
from proxy.core.types import (
    PART_NUMBER_MAX,
    CompletedPart,
    Container,
    ListQuery,
    PartHead,
    UploadHead,
    UploadInfo,
)
from proxy.http_conditions import parse_etags
from proxy.s3 import xml
from proxy.s3.answer import Answer, empty
from proxy.s3.body import content_md5, promises_checksum, read_document, upload_body
from proxy.s3.combine import combination, promised_checksums
from proxy.s3.conditions import write_conditions
from proxy.s3.context import Context
from proxy.s3.copy import copied_part
from proxy.s3.errors import S3Error
from proxy.s3.headers import checksum_headers, read_attributes
from proxy.s3.list import container_owner, read_encoding
from proxy.s3.reply import long_answer, xml_answer
from proxy.s3.request import S3Request, parse_number, parse_part_number
from proxy.s3.times import whole_seconds, xml_date

COMPLETE_DOCUMENT_MAX_BYTES: Final = 8 * 1024**2
"""10,000 parts with number, ETag and two checksums each."""
PARTS_PAGE_MAX: Final = 1000
UPLOADS_PAGE_MAX: Final = 1000
PAGE_PARAMETER_MAX: Final = 2**31 - 1


async def create_upload(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """POST ?uploads."""
    algorithm, kind = _wanted_checksum(request)
    upload = await context.store.create_upload(
        container,
        request.key,
        read_attributes(request),
        owner=request.account,
        checksum_algorithm=algorithm,
        checksum_type=kind,
    )
    content = (
        f"{xml.element('Bucket', request.bucket)}{xml.element('Key', request.key)}"
        f"{xml.element('UploadId', upload.id)}"
    )
    headers = {}
    if algorithm:
        headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    return xml_answer(request, "InitiateMultipartUploadResult", content, headers=headers)


def _wanted_checksum(request: S3Request) -> tuple[str, str]:
    """Algorithm and type of the upload's checksums, both "" for none.

    Raises UnknownChecksum, ConflictingChecksums, S3Error InvalidRequest.
    """
    name, kind = request.amz.get("x-amz-checksum-algorithm"), request.amz.get("x-amz-checksum-type")
    if name is None:
        if kind is not None:
            raise S3Error("InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm.")
        return "", ""
    algorithm = parse_algorithm(name)
    wanted = allowed_types(algorithm)[0] if kind is None else parse_checksum_type(kind, algorithm)
    return algorithm.value, wanted.value


async def upload_part(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """PUT ?uploadId&partNumber: UploadPart, or UploadPartCopy where a copy source is named."""
    upload_id = request.query["uploadId"]
    if "partNumber" not in request.query:
        raise S3Error("InvalidRequest", "The upload of a part needs partNumber.")
    number = parse_part_number(request.query["partNumber"])
    upload = await context.store.upload(container, request.key, upload_id)
    algorithm = parse_algorithm(upload.checksum_algorithm) if upload.checksum_algorithm else None
    if "x-amz-copy-source" in request.amz:
        return await long_answer(request, copied_part(context, request, container, number, algorithm))
    _check_algorithm(request, algorithm)
    body = upload_body(request, algorithm)
    md5 = content_md5(request)
    part = await context.store.put_part(container, request.key, upload_id, number, body, md5=md5)
    fields = {"ETag": f'"{part.etag}"', **checksum_headers(part.checksums, "")}
    return empty(200, request.request_id, request.now_ns, fields)


def _check_algorithm(request: S3Request, expected: ChecksumAlgorithm | None) -> None:
    """Raises S3Error InvalidRequest where a part's checksum is of another kind than the upload's."""
    if expected is None or not promises_checksum(request):
        return
    declared = parse_checksum_headers(request.headers)
    if declared is not None and declared.algorithm is not expected:
        message = f"The upload's checksums are of {expected.value}, not of {declared.algorithm.value}."
        raise S3Error("InvalidRequest", message)


async def complete_upload(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """POST ?uploadId: the named parts become the object."""
    data = await read_document(request, max_bytes=COMPLETE_DOCUMENT_MAX_BYTES, checksums_of_object=True)
    parts = parse_parts(data)
    return await long_answer(request, _completed(context, request, container, parts))


async def _completed(
    context: Context, request: S3Request, container: Container, parts: list[CompletedPart]
) -> Answer:
    size = request.amz.get("x-amz-mp-object-size")
    upload_id = request.query["uploadId"]
    info = await context.store.complete_upload(
        container,
        request.key,
        upload_id,
        parts,
        conditions=write_conditions(request.headers),
        combine=await _combination(context, request, container),
        size_bytes=None if size is None else parse_number("x-amz-mp-object-size", size, 0, 0, 2**63),
    )
    head = info.head
    rows = "".join(xml.element(f"Checksum{name}", value) for name, value in head.checksums.items())
    kind = xml.optional("ChecksumType", head.checksum_type if head.checksums else "")
    content = (
        f"{xml.element('Location', _location(request))}{xml.element('Bucket', request.bucket)}"
        f"{xml.element('Key', request.key)}{xml.etag(head.etag)}{rows}{kind}"
    )
    return xml_answer(request, "CompleteMultipartUploadResult", content)


async def _combination(context: Context, request: S3Request, container: Container) -> Combine | None:
    """How the upload's parts make the object's checksums, and what the client promises of them.

    None for an upload that is gone: a repeated request whose first answer was lost, which the core
    knows to answer. Raises S3Error InvalidRequest, InvalidChecksum.
    """
    promised = promised_checksums(request.amz)
    try:
        upload = await context.store.upload(container, request.key, request.query["uploadId"])
    except NoSuchUpload:
        return None
    kind = request.amz.get("x-amz-checksum-type")
    if kind is not None and upload.checksum_type and kind != upload.checksum_type:
        raise S3Error(
            "BadDigest", f"The upload's checksums are {upload.checksum_type}, not {kind[:32]}."
        )
    return combination(upload.checksum_algorithm, upload.checksum_type, promised)


def _location(request: S3Request) -> str:
    host = request.headers.get("Host", "")
    bucket = "" if request.host_bucket else f"/{quote(request.bucket)}"
    return f"{request.http.scheme}://{host}{bucket}/{quote(request.key)}"


def parse_parts(data: bytes) -> list[CompletedPart]:
    """The parts of a CompleteMultipartUpload document. Raises S3Error MalformedXML."""
    elements = xml.parse(data, "CompleteMultipartUpload").all("Part")
    if not 0 < len(elements) <= PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    return [_parse_part(element) for element in elements]


def _parse_part(element: xml.Element) -> CompletedPart:
    number, etag = "", ""
    checksums = {}
    for child in element.children:
        if child.name == "PartNumber":
            number = child.text.strip()
        elif child.name == "ETag":
            etag = child.text.strip()
        elif child.name.startswith("Checksum"):
            algorithm = parse_algorithm(child.name.removeprefix("Checksum"))
            checksums[algorithm.value] = child.text.strip()
    etags = parse_etags(etag)
    if len(etags) != 1 or not (number.isascii() and number.isdigit()):
        raise S3Error("MalformedXML")
    return CompletedPart(parse_part_number(number), etags[0], checksums)


async def abort_upload(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """DELETE ?uploadId."""
    await context.store.abort_upload(container, request.key, request.query["uploadId"])
    return empty(204, request.request_id, request.now_ns)


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
    for entry in page.entries:
        if isinstance(entry, UploadInfo):
            content += _upload_row(container, entry.head, spell(entry.head.object_name))
    for entry in page.entries:
        if isinstance(entry, str):
            content += f"<CommonPrefixes><Prefix>{spell(entry)}</Prefix></CommonPrefixes>"
    return xml_answer(request, "ListMultipartUploadsResult", content)


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
