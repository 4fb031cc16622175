"""DeleteObject and DeleteObjects."""

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from proxy.core.errors import StoreError
from proxy.core.types import NO_CONDITIONS, Conditions, Container
from proxy.http_conditions import parse_etags
from proxy.s3 import xml
from proxy.s3.answer import empty
from proxy.s3.body import read_document
from proxy.s3.conditions import write_conditions
from proxy.s3.context import Context
from proxy.s3.errors import Place, S3Error, not_implemented, told
from proxy.s3.refusals import refuse_version
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request

DELETE_KEYS_MAX: Final = 1000
DELETE_DOCUMENT_MAX_BYTES: Final = 8 * 1024**2
"""1,000 keys of 1,024 bytes, each byte up to six characters of XML, and their elements."""
DELETE_PARALLEL_MAX: Final = 16
"""How many keys of one request are deleted at a time."""


async def delete_object(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """DELETE of a key; one that is not there is deleted, too."""
    refuse_version(request.query.get("versionId"))
    conditions = write_conditions(request.headers)
    await context.store.delete_object(container, request.key, conditions=conditions)
    return empty(204, request.request_id, request.now_ns)


async def delete_objects(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """POST ?delete: up to 1,000 keys, each with its own outcome."""
    data = await read_document(request, max_bytes=DELETE_DOCUMENT_MAX_BYTES, digest_required=True)
    root = xml.parse(data, "Delete")
    objects = root.all("Object")
    if not 0 < len(objects) <= DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    quiet = root.value("Quiet").strip().lower() == "true"
    results = await _delete_all(context, container, objects)
    content = "".join(text for text, failed in results if failed or not quiet)
    return xml_answer(request, "DeleteResult", content)


async def _delete_all(
    context: Context, container: Container, objects: list[xml.Element]
) -> list[tuple[str, bool]]:
    """The result element and whether it is an error, per object, in order."""
    results = [("", False)] * len(objects)
    todo = iter(enumerate(objects))

    async def work(rest: Iterator[tuple[int, xml.Element]]) -> None:
        for index, element in rest:
            results[index] = await _delete_one(context, container, element)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(DELETE_PARALLEL_MAX, len(objects))):
            group.create_task(work(todo))
    return results


async def _delete_one(context: Context, container: Container, element: xml.Element) -> tuple[str, bool]:
    key = element.value("Key")
    try:
        if not key:
            raise S3Error("MalformedXML", "An object to delete has no key.")
        conditions = _conditions(element)
        await context.store.delete_object(container, key, conditions=conditions)
    except (StoreError, S3Error) as error:
        failed = told(error, Place(container.name, key))
        assert failed is not None, "the table of errors is exhaustive"
        code, message = xml.element("Code", failed.code), xml.element("Message", failed.message)
        return f"<Error>{xml.element('Key', key)}{code}{message}</Error>", True
    return f"<Deleted>{xml.element('Key', key)}</Deleted>", False


def _conditions(element: xml.Element) -> Conditions:
    """ETag is a condition like If-Match; versions, sizes and times are of buckets that are not here."""
    refuse_version(element.value("VersionId"))
    for name in ("LastModifiedTime", "Size"):
        if element.child(name) is not None:
            raise not_implemented(f"{name} of an object to delete")
    etags = parse_etags(element.value("ETag"))
    return Conditions(if_match=etags) if etags else NO_CONDITIONS
