"""Accounts: GET, HEAD, POST. They exist when asked for; PUT and DELETE are not theirs, as in Swift
without account management."""

from typing import Final

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.types import AccountStat
from proxy.swift import formats
from proxy.swift import list as listing
from proxy.swift.access import require_owner
from proxy.swift.errors import bad_request, method_not_allowed
from proxy.swift.headers import timestamp
from proxy.swift.metadata import merged, meta_headers, metadata_changes
from proxy.swift.request import SwiftRequest

ACCOUNT_NAME_MAX_BYTES: Final = 256
ALLOWED: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "POST")
"""DELETE and POST carry bulk deletes, which `app.py` sends to `bulk.py` before it comes here."""


async def account(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """Any request on an account. Raises SwiftError 405 for methods that are not there."""
    require_owner(request.caller, request.target.account)
    check_account_name(request.target.account)
    match request.method:
        case "GET" | "HEAD":
            return await get_account(store, request)
        case "POST":
            return await post_account(store, request)
        case _:
            raise method_not_allowed(ALLOWED)


def check_account_name(name: str) -> None:
    """Raises SwiftError 400 for a name that is too long."""
    if (size := len(name.encode())) > ACCOUNT_NAME_MAX_BYTES:
        raise bad_request(f"Account name length of {size} longer than {ACCOUNT_NAME_MAX_BYTES}")


async def get_account(store: Store, request: SwiftRequest) -> web.Response:
    """Totals, metadata and the listing of containers; 204 where there is nothing to list."""
    media_type = formats.wanted_format(request.query, request.header("Accept"))
    stat = await store.account_stat(request.target.account)
    headers = account_headers(stat, stat.created_ns or request.now_ns)
    content_type = formats.with_charset(media_type)
    if request.method == "HEAD":
        return request.answer(204, b"", headers, content_type)
    body = await listing.container_listing(store, request, media_type)
    return request.answer(200 if body else 204, body, headers, content_type)


async def post_account(store: Store, request: SwiftRequest) -> web.Response:
    """Set and remove metadata."""
    changes = metadata_changes(request.headers, "account")
    if changes:
        current = await store.account_meta(request.target.account)
        merged(current, changes)  # refused here where the sum is too much
        await store.update_account(request.target.account, changes)
    return request.answer(204)


def account_headers(stat: AccountStat, created_ns: int) -> dict[str, str]:
    """Totals, also by storage policy, and metadata. created_ns: since when it counts as there."""
    headers = {
        "X-Account-Container-Count": str(stat.containers),
        "X-Account-Object-Count": str(stat.objects),
        "X-Account-Bytes-Used": str(stat.size_bytes),
        "X-Timestamp": timestamp(created_ns),
        "X-Put-Timestamp": timestamp(created_ns),
        "Accept-Ranges": "bytes",
    }
    for name, usage in stat.by_policy.items():
        prefix = f"X-Account-Storage-Policy-{name.title()}"
        headers[f"{prefix}-Container-Count"] = str(usage.containers)
        headers[f"{prefix}-Object-Count"] = str(usage.objects)
        headers[f"{prefix}-Bytes-Used"] = str(usage.size_bytes)
    return {**headers, **meta_headers(stat.meta, "account")}
