"""Static large objects: a manifest of segments, put, shown, copied and deleted with its segments.

The JSON and what a manifest holds are decided purely in `slo_manifest.py`; here each segment is looked
at and the manifest stored. Reading what it stands for is the core's.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from aiohttp import web

from proxy.auth.errors import AuthError
from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer, NoSuchObject, StoreError
from proxy.core.types import (
    NO_CONDITIONS,
    OBJECT_MAX_BYTES,
    Conditions,
    Container,
    ObjectAttributes,
    ObjectInfo,
    Part,
)
from proxy.http import IncomingBody
from proxy.http_conditions import format_date, parse_conditions
from proxy.swift import bulk, formats
from proxy.swift.access import Caller, Need, open_container
from proxy.swift.errors import SwiftError, answer_for, bad_request, phrase
from proxy.swift.headers import (
    check_conditions,
    is_static_large,
    modified_s,
    object_headers,
)
from proxy.swift.list import each
from proxy.swift.metadata import object_attributes
from proxy.swift.request import SwiftRequest, Target
from proxy.swift.slo_manifest import (
    NESTING_MAX,
    Found,
    Segment,
    manifest_md5,
    md5_hex,
    parse_manifest,
    parts_of,
    segment_of,
    show_manifest,
    show_raw,
)

MANIFEST_MAX_BYTES: Final = 8 * 1024 * 1024
HEADS_AT_ONCE: Final = 8

# -- the segments as they are ------------------------------------------------------------------------


async def resolve(
    store: Store, caller: Caller, account: str, segments: Sequence[Segment]
) -> dict[tuple[str, str], Found]:
    """Look at each segment's object once, as the caller may."""
    paths = list({(segment.container, segment.name): None for segment in segments if segment.name})
    containers: dict[str, Container | str] = {}

    async def look(path: tuple[str, str]) -> Found:
        container = containers[path[0]]
        if isinstance(container, str):
            return Found(None, container)
        try:
            return Found(await store.head_object(container, path[1]), "")
        except (NoSuchContainer, NoSuchObject):
            return Found(None, _status_text(404))

    for name in dict.fromkeys(path[0] for path in paths):
        containers[name] = await _container(store, caller, account, name)
    return dict(zip(paths, await each(paths, look, HEADS_AT_ONCE), strict=True))


async def _container(store: Store, caller: Caller, account: str, name: str) -> Container | str:
    """The container, or the status that it would answer with."""
    try:
        return await open_container(store, caller, account, name, Need.READ)
    except NoSuchContainer:
        return _status_text(404)
    except SwiftError as error:
        return _status_text(error.status)


def _status_text(status: int) -> str:
    return f"{status} {phrase(status)}"


# -- PUT ---------------------------------------------------------------------------------------------


async def put_manifest(store: Store, request: SwiftRequest) -> web.Response:
    """PUT ?multipart-manifest=put. 400 with a report where segments are not as promised."""
    account, container_name, name = request.target
    media_type = formats.wanted_format({}, request.header("Accept"))
    container = await open_container(store, request.caller, account, container_name, Need.WRITE)
    attributes = object_attributes(_without_manifest(request.headers), name, request.now_s)
    body = await read_at_most(request.body(), MANIFEST_MAX_BYTES)
    segments = parse_manifest(body, (container_name, name))
    parts, problems = parts_of(segments, await resolve(store, request.caller, account, segments))
    if problems:
        report = formats.report(media_type, "upload", {}, problems)
        return request.answer(400, report, content_type=formats.with_charset(media_type))
    _check_promised_etag(request.header("Etag"), manifest_md5(parts))
    info = await store_manifest(
        store, container, name, parts, attributes, parse_conditions(request.headers)
    )
    headers = {
        "Etag": f'"{info.head.etag}"',
        "Last-Modified": format_date(modified_s(info.head)),
    }
    return request.answer(201, b"", headers)


async def store_manifest(
    store: Store,
    container: Container,
    name: str,
    parts: list[Part],
    attributes: ObjectAttributes,
    conditions: Conditions = NO_CONDITIONS,
) -> ObjectInfo:
    """Write a manifest of checked parts. Raises SwiftError 413, and as `Store.put_manifest`."""
    if sum(part.size_bytes for part in parts) > OBJECT_MAX_BYTES:
        raise SwiftError(413, f"The segments together must be <= {OBJECT_MAX_BYTES} bytes")
    return await store.put_manifest(
        container,
        name,
        parts,
        ObjectAttributes(
            attributes.content_type,
            attributes.headers,
            attributes.meta,
            attributes.delete_at_s,
            "slo",
        ),
        etag=manifest_md5(parts),
        manifest_etag=md5_hex(show_manifest(parts)),
        conditions=conditions,
    )


def _without_manifest(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a PUT less X-Object-Manifest: one object cannot be both kinds."""
    kept = ("x-object-manifest",)
    return {name: value for name, value in headers.items() if name.lower() not in kept}


def _check_promised_etag(promised: str, etag: str) -> None:
    if promised and promised.strip().strip('"').lower() != etag:
        raise SwiftError(422)


async def read_at_most(body: IncomingBody, max_bytes: int) -> bytes:
    """A body that may not be longer than `max_bytes`. Raises SwiftError 413, IncompleteBody."""
    if body.size_bytes is not None and body.size_bytes > max_bytes:
        raise SwiftError(413, f"The body must be <= {max_bytes} bytes")
    pieces: list[bytes] = []
    size = 0
    while piece := await body.read():
        size += len(piece)
        if size > max_bytes:
            raise SwiftError(413, f"The body must be <= {max_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


# -- GET of the manifest itself ----------------------------------------------------------------------


async def get_manifest(
    store: Store, request: SwiftRequest, container: Container
) -> web.Response | None:
    """GET or HEAD ?multipart-manifest=get; None for an object that is no static manifest.

    The parts of an S3 multipart object are its own bytes and no objects: its manifest names none.
    """
    opened = await store.open_object(container, request.target.name, raw=True)
    with closing(opened):
        head = opened.info.head
        if not is_static_large(head):
            return None
        parts = opened.parts if head.kind == "slo" else []
    raw = request.query.get("format") == "raw"
    body = show_raw(parts) if raw else show_manifest(parts)
    headers = {
        **object_headers(head),
        "Content-Type": formats.with_charset(formats.JSON),
        "Etag": md5_hex(body),
    }
    check_conditions(request.headers, headers["Etag"], head, headers)
    return request.answer(200, body, headers, headers["Content-Type"])


# -- copy --------------------------------------------------------------------------------------------


async def copy_manifest(
    store: Store,
    caller: Caller,
    source: tuple[Container, ObjectInfo],
    target: tuple[Container, str],
    attributes: ObjectAttributes,
) -> ObjectInfo:
    """Copy a static manifest as a manifest: its segments are looked at again, in the target's account
    and with the caller's rights. Raises SwiftError 400 where they are not as they were."""
    opened = await store.open_object(source[0], source[1].name, raw=True)
    with closing(opened):
        segments = [segment_of(part) for part in opened.parts]
    account = target[0].account
    parts, problems = parts_of(segments, await resolve(store, caller, account, segments))
    if problems:
        raise bad_request("\n".join(f"{path}, {problem}" for path, problem in problems))
    return await store_manifest(store, *target, parts, attributes)


# -- DELETE with the segments ------------------------------------------------------------------------


async def delete_with_segments(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """DELETE ?multipart-manifest=delete: the segments, those of nested manifests, then the manifest."""
    media_type = formats.wanted_format(request.query, request.header("Accept"))

    async def work() -> bulk.Report:
        report = bulk.new_delete_report()
        try:
            targets = await segments_below(store, request.caller, request.target, 0)
        except (StoreError, AuthError, SwiftError) as error:
            bulk.note_deletion(report, request.target, answer_for(error).status)
        else:
            await bulk.delete_all(store, request.caller, targets, report)
        return bulk.finished(report, "Invalid bulk delete.")

    return await bulk.send_report(request, media_type, "delete", work)


async def segments_below(store: Store, caller: Caller, target: Target, depth: int) -> list[Target]:
    """What a manifest consists of, each once, itself last. Raises SwiftError 400 for no manifest,
    409 for one nested too deeply, and as the segments' container does."""
    container = await open_container(store, caller, target.account, target.container, Need.WRITE)
    with closing(await store.open_object(container, target.name, raw=True)) as opened:
        if not is_static_large(opened.info.head):
            raise bad_request("Not an SLO manifest")
        if depth > NESTING_MAX:
            raise SwiftError(409, "The manifests are nested too deeply")
        references = [part.reference for part in opened.parts if part.reference is not None]
    below: dict[Target, None] = {}
    for reference in references:
        segment = Target(target.account, reference.container, reference.name)
        if reference.kind == "slo" and segment not in below:
            below.update(dict.fromkeys(await _below_or_itself(store, caller, segment, depth + 1)))
        below[segment] = None
    below.pop(target, None)
    return [*below, target]


async def _below_or_itself(store: Store, caller: Caller, segment: Target, depth: int) -> list[Target]:
    """As `segments_below`; a segment that is gone or a manifest no more stands for itself."""
    try:
        return await segments_below(store, caller, segment, depth)
    except (NoSuchContainer, NoSuchObject):
        return [segment]
    except SwiftError as error:
        if error.status == 400:
            return [segment]
        raise
