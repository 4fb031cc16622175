"""Multipart uploads: begin, parts, complete, abort. Their listings are in `multipart_list.py`."""

import asyncio
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
from proxy.s3.reply import long_answer, xml_answer
from proxy.s3.request import S3Request, parse_number, parse_part_number

COMPLETE_DOCUMENT_MAX_BYTES: Final = 8 * 1024**2
"""10,000 parts with number, ETag and two checksums each."""
PARSE_ON_THREAD_MIN_BYTES: Final = 128 * 1024
"""10,000 parts take 80 ms to read: too long for the event loop."""


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
    if len(data) < PARSE_ON_THREAD_MIN_BYTES:
        parts = parse_parts(data)
    else:
        parts = await asyncio.to_thread(parse_parts, data)
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
