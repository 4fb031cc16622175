"""XML answers: results, errors, and the ones that may take long."""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

from aiohttp import web

from proxy.s3 import xml
from proxy.s3.answer import SERVER, Answer
from proxy.s3.errors import S3Error, told
from proxy.s3.request import S3Request

_T = TypeVar("_T")

SIGN_OF_LIFE_S: Final = 10.0
"""How often a call that takes long sends a space, so that no client or proxy gives it up."""


def xml_answer(
    request: S3Request, name: str, content: str, *, headers: dict[str, str] | None = None
) -> Answer:
    """200 with a document. content: escaped already."""
    fields = {"x-amz-request-id": request.request_id, "Content-Type": xml.CONTENT_TYPE}
    if headers:
        fields.update(headers)
    return Answer(200, fields, xml.document(name, content), now_ns=request.now_ns)


def error_document(error: S3Error, resource: str, request_id: str) -> bytes:
    """S3's error document, which is in no namespace."""
    values = {
        "Code": error.code,
        "Message": error.message,
        **error.fields,
        "Resource": resource,
        "RequestId": request_id,
    }
    content = "".join(f"<{name}>{xml.shown(str(value))}</{name}>" for name, value in values.items())
    return f"{xml.DECLARATION}<Error>{content}</Error>".encode()


def error_answer(error: S3Error, resource: str, request_id: str, now_ns: int) -> Answer:
    """An error's answer; a HEAD gets it without the document."""
    fields = {"x-amz-request-id": request_id, "Content-Type": xml.CONTENT_TYPE, **error.headers}
    body = error_document(error, resource, request_id)
    return Answer(error.status, fields, body, now_ns=now_ns)


async def long_answer(
    request: S3Request,
    work: Coroutine[None, None, Answer],
    *,
    sign_of_life_s: float = SIGN_OF_LIFE_S,
) -> web.StreamResponse:
    """The answer of a call that may take minutes: completing an upload, copying a large object.

    After `sign_of_life_s` the status 200 and the XML declaration go out, then spaces, and at the end
    the document, which may be an error, as S3 documents for these calls. Errors before that are
    raised as ever.
    """
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(work))
        await asyncio.wait((task,), timeout=sign_of_life_s)
        if not task.done():
            outcome = await _outcome(_drawn_out(request, task, sign_of_life_s))
            task.cancel()  # of effect only where the client has gone
        else:
            outcome = task.result()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _outcome(work: Coroutine[None, None, _T]) -> _T | Exception:
    """The error as a value: a task group would wrap it."""
    try:
        return await work
    except Exception as error:
        return error


async def _drawn_out(
    request: S3Request, task: asyncio.Task[Answer | Exception], sign_of_life_s: float
) -> web.StreamResponse:
    headers = {
        "x-amz-request-id": request.request_id,
        "Content-Type": xml.CONTENT_TYPE,
        "Server": SERVER,
    }
    response = web.StreamResponse(status=200, headers=headers)
    await response.prepare(request.http)
    await response.write(xml.DECLARATION.encode())
    while not task.done():
        await response.write(b" ")
        await asyncio.wait((task,), timeout=sign_of_life_s)
    outcome = task.result()
    if isinstance(outcome, Answer):
        document = bytes(outcome.content)
    elif (error := told(outcome, request.place)) is not None:
        document = error_document(error, request.raw_path, request.request_id)
    else:
        raise outcome
    await response.write(document.removeprefix(xml.DECLARATION.encode()))
    await response.write_eof()
    return response
