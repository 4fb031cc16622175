"""PutObject."""

from aiohttp import web

from proxy.core.types import Container
from proxy.s3.answer import empty
from proxy.s3.body import content_md5, promises_checksum, upload_body
from proxy.s3.conditions import write_conditions
from proxy.s3.context import Context
from proxy.s3.copy import copy_object
from proxy.s3.headers import checksum_headers, read_attributes
from proxy.s3.request import S3Request


async def put_object(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """PUT of a key: CopyObject where a copy source is named, else the body becomes the object."""
    if "x-amz-copy-source" in request.amz:
        return await copy_object(context, request, container)
    conditions = write_conditions(request.headers)
    attributes = read_attributes(request)
    body = upload_body(request)
    info = await context.store.put_object(
        container,
        request.key,
        body,
        attributes,
        conditions=conditions,
        md5=content_md5(request),
        checksum_type="FULL_OBJECT" if promises_checksum(request) else "",
    )
    fields = {"ETag": f'"{info.head.etag}"'}
    if info.head.checksums:
        fields.update(checksum_headers(info.head.checksums, info.head.checksum_type))
    return empty(200, request.request_id, request.now_ns, fields)
