"""Listings: containers of an account, objects of a container, in text, JSON and XML.

The pages come from the core; here the query is read and the page is written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer, NoSuchObject
from proxy.core.types import Container, ContainerStat, ListQuery, ObjectInfo
from proxy.swift import formats
from proxy.swift.errors import precondition_failed
from proxy.swift.request import SwiftRequest, is_true

LISTING_LIMIT_MAX: Final = 10_000
"""Entries of one answer, and how many there are where no limit is given."""

LOOKUPS_AT_ONCE: Final = 16
"""How many rows are asked for at a time where a listing needs one per entry."""

EMPTY_STAT: Final = ContainerStat(0, 0)

Item = TypeVar("Item")
Result = TypeVar("Result")


def listing_query(request: SwiftRequest) -> ListQuery:
    """The bounds that a request sets. Raises SwiftError 412 for a limit beyond the largest."""
    query = request.query
    return ListQuery(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        marker=query.get("marker", ""),
        end_marker=query.get("end_marker", ""),
        limit=listing_limit(query.get("limit", "")),
        reverse=is_true(query.get("reverse", "")),
    )


def listing_limit(text: str) -> int:
    """The largest number of entries; what is no number is as if absent, as in Swift."""
    if not (text.isascii() and text.isdigit()):
        return LISTING_LIMIT_MAX
    if len(text) > 18 or int(text) > LISTING_LIMIT_MAX:
        raise precondition_failed(f"Maximum limit is {LISTING_LIMIT_MAX}")
    return int(text)


async def each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], at_once: int = LOOKUPS_AT_ONCE
) -> list[Result]:
    """`work` for every item, some at a time, results in order; the first error ends all."""
    turns = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Result:
        async with turns:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


# -- containers of an account ------------------------------------------------------------------------


async def container_listing(store: Store, request: SwiftRequest, media_type: str) -> bytes:
    """The body of GET on an account; b"" where a text listing has no entry."""
    query = listing_query(request)
    entries: list[Container | str] = []
    if query.limit:
        entries = (await store.list_containers(request.target.account, query)).entries
    if media_type == formats.PLAIN:
        names = (entry if isinstance(entry, str) else entry.name for entry in entries)
        return formats.to_text(names)
    records = await each(entries, lambda entry: _container_record(store, entry))
    if media_type == formats.JSON:
        return formats.to_json([record for _, record in records])
    return formats.to_xml("account", request.target.account, records)


async def _container_record(store: Store, entry: Container | str) -> tuple[str, formats.Record]:
    if isinstance(entry, str):
        return subdir_record(entry)
    try:
        stat = await store.container_stat(entry)
    except NoSuchContainer:  # deleted since its row was read
        stat = EMPTY_STAT
    return "container", {
        "name": entry.name,
        "count": stat.objects,
        "bytes": stat.size_bytes,
        "last_modified": formats.iso_time(entry.head.created_ns),
    }


# -- objects of a container --------------------------------------------------------------------------


async def object_listing(
    store: Store, request: SwiftRequest, container: Container, media_type: str
) -> bytes:
    """The body of GET on a container; b"" where a text listing has no entry."""
    entries = await listed_entries(store, request, container)
    if media_type == formats.PLAIN:
        return formats.to_text(entry if isinstance(entry, str) else entry.name for entry in entries)
    records = [object_record(entry) for entry in entries]
    if media_type == formats.JSON:
        return formats.to_json([record for _, record in records])
    return formats.to_xml("container", container.name, records)


async def listed_entries(
    store: Store, request: SwiftRequest, container: Container
) -> list[ObjectInfo | str]:
    """The entries that a request asks for, `path` included."""
    query = listing_query(request)
    if query.limit == 0:
        return []
    path = request.query.get("path")
    if path is not None:
        return await _level_of(store, container, path, query)
    return (await store.list_objects(container, query)).entries


async def _level_of(
    store: Store, container: Container, path: str, query: ListQuery
) -> list[ObjectInfo | str]:
    """What `path=` lists: the objects right below a pseudo-directory, the markers of its own
    pseudo-directories among them (objects whose names end in the slash), and no subdirs."""
    prefix = path.rstrip("/") + "/" if path else ""
    found: list[ObjectInfo | str] = []
    marker = query.marker
    while len(found) < query.limit:
        page_query = ListQuery(prefix, "/", marker, query.end_marker, LISTING_LIMIT_MAX, query.reverse)
        page = await store.list_objects(container, page_query)
        markers = [entry for entry in page.entries if isinstance(entry, str)]
        objects = dict(
            zip(markers, await each(markers, lambda name: _maybe(store, container, name)), strict=True)
        )
        listed = [objects[entry] if isinstance(entry, str) else entry for entry in page.entries]
        found += [entry for entry in listed if entry is not None and entry.name != prefix]
        if not page.truncated:
            break
        marker = page.next_marker
    return found[: query.limit]


async def _maybe(store: Store, container: Container, name: str) -> ObjectInfo | None:
    try:
        return await store.head_object(container, name)
    except NoSuchObject:
        return None


def subdir_record(name: str) -> tuple[str, formats.Record]:
    """A common prefix: in JSON `subdir`; in XML an element with its name."""
    return "subdir", {"subdir": name}


def object_record(entry: ObjectInfo | str) -> tuple[str, formats.Record]:
    """An entry of a container's listing, JSON's way."""
    if isinstance(entry, str):
        return subdir_record(entry)
    head = entry.head
    record: dict[str, object] = {
        "name": entry.name,
        "hash": head.manifest_etag or head.etag,
        "bytes": head.size_bytes,
        "content_type": head.content_type,
        "last_modified": formats.iso_time(head.modified_ns),
    }
    if head.kind == "slo":
        record["slo_etag"] = f'"{head.etag}"'
    return "object", record
