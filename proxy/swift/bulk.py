"""Many deletions by one request, and the answers that report while they work.

Source: the Swift manual, "Bulk Operations". Such an answer is 200 at once; blanks keep the connection
alive and the report at its end tells what really happened. Archives are `archive.py`'s.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.http import HttpVersion11

from proxy.auth.errors import AuthError
from proxy.core.contract import Store
from proxy.core.errors import StoreError
from proxy.swift import formats
from proxy.swift.access import Caller, Need, open_container
from proxy.swift.byte_source import ByteSource
from proxy.swift.errors import SwiftError, answer_for, phrase
from proxy.swift.list import each
from proxy.swift.request import SwiftRequest, Target, decode

DELETES_MAX: Final = 10_000
DELETES_AT_ONCE: Final = 8
BATCH_MAX: Final = 200
"""How many lines are read before they are acted upon."""

LINE_MAX_BYTES: Final = 3 * (256 + 1024) + 2
"""A path with every byte percent-encoded."""

HEARTBEAT_S: Final = 10.0
_HEARTBEAT: Final = b"\r\n"


@dataclasses.dataclass(slots=True)
class Report:
    """What a bulk operation did. counts: by the name the report gives them. success: the status where
    nothing failed; failure: the worst that happened, 0 for nothing."""

    counts: dict[str, int]
    success: int = 200
    failure: int = 0
    body: str = ""
    errors: list[list[str]] = dataclasses.field(default_factory=list)

    @property
    def status(self) -> int:
        """The status that the report tells."""
        return self.failure or self.success

    def fields(self) -> dict[str, object]:
        """The report without its errors."""
        return {
            **self.counts,
            "Response Status": f"{self.status} {phrase(self.status)}",
            "Response Body": self.body,
        }

    def failed(self, path: str, status: int) -> None:
        """Note a path that could not be dealt with."""
        self.errors.append([quote(path, errors="surrogateescape"), f"{status} {phrase(status)}"])
        worst = HTTPStatus.BAD_GATEWAY if status >= 500 else HTTPStatus.BAD_REQUEST
        self.failure = max(self.failure, worst)

    def ended(self, status: int, text: str) -> None:
        """Note what ended the whole before its end."""
        self.failure, self.body = status, text


# -- the answer --------------------------------------------------------------------------------------


async def send_report(
    request: SwiftRequest, media_type: str, root: str, work: Callable[[], Awaitable[Report]]
) -> web.StreamResponse:
    """Answer 200, work, and end with the report. The body must have been primed: nothing may be put
    between the status line and the report but blanks. An unknown fault cuts the answer off."""
    headers = {"Content-Type": formats.with_charset(media_type)}
    response = web.StreamResponse(status=200, headers=request.answer_headers(headers))
    if request.http.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(request.http)
    try:
        head = formats.declaration(media_type)
        await response.write(head)
        report = await _with_heartbeat(response, work)
        body = formats.report(media_type, root, report.fields(), report.errors)
        await response.write(body[len(head) :])
        await response.write_eof()
    except BaseException:
        if request.http.transport is not None:
            request.http.transport.abort()  # a report that breaks off must not look complete
        raise
    return response


async def _with_heartbeat(
    response: web.StreamResponse, work: Callable[[], Awaitable[Report]]
) -> Report:
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_awaited(work))
            while not (await asyncio.wait((task,), timeout=HEARTBEAT_S))[0]:
                await response.write(_HEARTBEAT)
        return task.result()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _awaited(work: Callable[[], Awaitable[Report]]) -> Report:
    return await work()


# -- deletions ---------------------------------------------------------------------------------------


def new_delete_report() -> Report:
    """A report of deletions, of none yet."""
    return Report({"Number Deleted": 0, "Number Not Found": 0})


async def bulk_delete(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """POST or DELETE ?bulk-delete: a body of percent-encoded paths, one a line."""
    media_type = formats.wanted_format(request.query, request.header("Accept"))
    source = ByteSource(request.body().read)
    await source.prime()

    async def work() -> Report:
        report = new_delete_report()
        try:
            await _delete_lines(store, request, source, report)
        except ValueError as error:
            report.ended(400, str(error))
        except (SwiftError, StoreError) as error:
            refusal = answer_for(error)
            report.ended(refusal.status, refusal.text)
        return finished(report, "Invalid bulk delete.")

    return await send_report(request, media_type, "delete", work)


def finished(report: Report, empty_text: str) -> Report:
    """The report with its status; one that did nothing at all is a bad request."""
    if not report.failure and not any(report.counts.values()):
        report.ended(400, empty_text)
    return report


async def _delete_lines(
    store: Store, request: SwiftRequest, source: ByteSource, report: Report
) -> None:
    seen = 0
    more = True
    while more:
        batch: list[Target] = []
        while len(batch) < BATCH_MAX:
            line = await source.line(LINE_MAX_BYTES)
            if line is None:
                more = False
                break
            if text := line.strip().decode("utf-8", "surrogateescape"):
                seen += 1
                if seen > DELETES_MAX:
                    await delete_all(store, request.caller, batch, report)
                    raise SwiftError(413, f"Maximum Bulk Deletes: {DELETES_MAX} per request")
                batch += _target_of(request.target.account, text, report)
        await delete_all(store, request.caller, batch, report)


def _target_of(account: str, line: str, report: Report) -> list[Target]:
    """The target of a line, or none where the report says why."""
    try:
        container, _, name = decode(line).lstrip("/").partition("/")
    except SwiftError as error:
        report.failed(line, error.status)
        return []
    if not container:
        report.failed(line, 400)
        return []
    return [Target(account, container, name)]


async def delete_all(store: Store, caller: Caller, targets: Sequence[Target], report: Report) -> None:
    """Delete objects some at a time, and each container after what was named before it."""
    waiting: list[Target] = []
    for target in targets:
        if target.name:
            waiting.append(target)
            continue
        await _delete_some(store, caller, waiting, report)
        waiting = []
        await _delete_some(store, caller, [target], report)
    await _delete_some(store, caller, waiting, report)


async def _delete_some(store: Store, caller: Caller, targets: Sequence[Target], report: Report) -> None:
    statuses = await each(targets, lambda target: try_delete(store, caller, target), DELETES_AT_ONCE)
    for target, status in zip(targets, statuses, strict=True):
        note_deletion(report, target, status)


def note_deletion(report: Report, target: Target, status: int) -> None:
    """Count what came of one deletion."""
    if status == 204:
        report.counts["Number Deleted"] += 1
    elif status == 404:
        report.counts["Number Not Found"] += 1
    else:
        report.failed(target.path.rstrip("/") if not target.name else target.path, status)


async def try_delete(store: Store, caller: Caller, target: Target) -> int:
    """Delete one object or container; the status that a request of its own would get."""
    account, container_name, name = target
    try:
        if name:
            container = await open_container(store, caller, account, container_name, Need.WRITE)
            await store.delete_existing(container, name)
        else:
            container = await open_container(
                store, caller, account, container_name, Need.OWN, fresh=True
            )
            await store.delete_container(container)
    except (StoreError, AuthError, SwiftError) as error:
        return answer_for(error).status
    return 204
