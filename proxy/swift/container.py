"""Containers: GET, HEAD, PUT, POST, DELETE. Listings are written in `list.py`."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from proxy.auth.acl import parse_read_acl, parse_write_acl
from proxy.core.contract import Store
from proxy.core.errors import ContainerExists
from proxy.core.types import CONTAINER_NAME_MAX_BYTES, Container, ContainerStat
from proxy.http_conditions import format_date
from proxy.swift import formats
from proxy.swift import list as listing
from proxy.swift.access import READ_ACL, WRITE_ACL, Need, open_container, require_owner
from proxy.swift.errors import bad_request, method_not_allowed
from proxy.swift.headers import timestamp
from proxy.swift.metadata import (
    check_totals,
    merged,
    meta_headers,
    metadata_changes,
    refuse_absent_features,
)
from proxy.swift.request import SwiftRequest

ALLOWED: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")
OWNERS_METADATA: Final = ("temp-url-key", "temp-url-key-2")
"""Metadata that only the account's owner sees."""


async def container(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """Any request on a container. Raises SwiftError 405 for methods that are not there."""
    match request.method:
        case "GET" | "HEAD":
            return await get_container(store, request)
        case "PUT":
            return await put_container(store, request)
        case "POST":
            return await post_container(store, request)
        case "DELETE":
            return await delete_container(store, request)
        case _:
            raise method_not_allowed(ALLOWED)


# -- reading -----------------------------------------------------------------------------------------


async def get_container(store: Store, request: SwiftRequest) -> web.Response:
    """Counts, metadata and the listing of objects; 204 where there is nothing to list."""
    account, name, _ = request.target
    opened = await open_container(store, request.caller, account, name, Need.LIST, fresh=True)
    media_type = formats.wanted_format(request.query, request.header("Accept"))
    body = b""
    if request.method == "GET":
        body = await listing.object_listing(store, request, opened, media_type)
    stat = await store.container_stat(opened)
    headers = container_headers(opened, stat, owner=request.caller.owns(account))
    return request.answer(200 if body else 204, body, headers, formats.with_charset(media_type))


def container_headers(container: Container, stat: ContainerStat, *, owner: bool) -> dict[str, str]:
    """Counts, policy, times, metadata; access lists and keys only for the owner."""
    head = container.head
    created = timestamp(head.created_ns)
    headers = {
        "X-Container-Object-Count": str(stat.objects),
        "X-Container-Bytes-Used": str(stat.size_bytes),
        "X-Timestamp": created,
        "X-Put-Timestamp": created,
        "Last-Modified": format_date(-(-head.created_ns // 1_000_000_000)),
        "X-Storage-Policy": head.policy,
        "Accept-Ranges": "bytes",
    }
    hidden = () if owner else OWNERS_METADATA
    shown = {name: value for name, value in head.meta.items() if name not in hidden}
    access = _access_headers(head.system) if owner else {}
    return {**headers, **access, **meta_headers(shown, "container")}


def _access_headers(system: Mapping[str, str]) -> dict[str, str]:
    named = (("X-Container-Read", READ_ACL), ("X-Container-Write", WRITE_ACL))
    return {header: system[setting] for header, setting in named if system.get(setting)}


# -- changing ----------------------------------------------------------------------------------------


async def put_container(store: Store, request: SwiftRequest) -> web.Response:
    """Make a container (201), or change the metadata of one that is there (202)."""
    account, name, _ = request.target
    require_owner(request.caller, account)
    check_container_name(name)
    meta, system = container_changes(request.headers, request.query)
    policy = wanted_policy(request.header("X-Storage-Policy"), store)
    given = {key: value for key, value in meta.items() if value}
    check_totals(given)
    kept = {key: value for key, value in system.items() if value}
    try:
        await store.create_container(account, name, policy=policy, meta=given, system=kept)
    except ContainerExists:
        await _change(store, request, meta, system)
        return request.answer(202)
    return request.answer(201)


async def post_container(store: Store, request: SwiftRequest) -> web.Response:
    """Set and remove metadata and access lists."""
    require_owner(request.caller, request.target.account)
    meta, system = container_changes(request.headers, request.query)
    await _change(store, request, meta, system)
    return request.answer(204)


async def _change(
    store: Store, request: SwiftRequest, meta: dict[str, str], system: dict[str, str]
) -> None:
    account, name, _ = request.target
    current = await store.container(account, name, fresh=True)
    if meta or system:
        merged(current.head.meta, meta)  # refused here where the sum is too much
        await store.update_container(current, meta, system)


async def delete_container(store: Store, request: SwiftRequest) -> web.Response:
    """Delete an empty container."""
    account, name, _ = request.target
    opened = await open_container(store, request.caller, account, name, Need.OWN, fresh=True)
    await store.delete_container(opened)
    return request.answer(204)


def check_container_name(name: str) -> None:
    """Raises SwiftError 400 for a name that is too long."""
    if (size := len(name.encode())) > CONTAINER_NAME_MAX_BYTES:
        raise bad_request(f"Container name length of {size} longer than {CONTAINER_NAME_MAX_BYTES}")


def wanted_policy(name: str, store: Store) -> str:
    """The policy that X-Storage-Policy names whatever its case; "" for any. Raises SwiftError 400."""
    if not name:
        return ""
    for known in store.policies:
        if known.lower() == name.lower():
            return known
    raise bad_request(f"Invalid X-Storage-Policy {name!r}")


def container_changes(
    headers: Mapping[str, str], query: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Metadata and settings to merge, "" to remove. Raises SwiftError 400, 501, InvalidAcl."""
    refuse_absent_features(headers, query)
    system: dict[str, str] = {}
    for header, setting, parse in (
        ("Container-Read", READ_ACL, parse_read_acl),
        ("Container-Write", WRITE_ACL, parse_write_acl),
    ):
        if f"X-Remove-{header}" in headers:
            system[setting] = ""
        elif f"X-{header}" in headers:
            system[setting] = parse(headers[f"X-{header}"]).text
    return metadata_changes(headers, "container"), system
