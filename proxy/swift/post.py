"""Objects: POST replaces what an object says of itself; its bytes stay."""

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.types import ObjectAttributes
from proxy.swift.access import Need, open_container
from proxy.swift.metadata import (
    MANIFEST_HEADER,
    content_headers,
    content_type_of,
    delete_at,
    manifest_prefix,
    refuse_absent_features,
    user_metadata,
)
from proxy.swift.request import SwiftRequest


async def post_object(store: Store, request: SwiftRequest) -> web.Response:
    """Replace user metadata, content headers and expiry. A content type stays unless one is given."""
    refuse_absent_features(request.headers, request.query)
    account, container_name, name = request.target
    container = await open_container(store, request.caller, account, container_name, Need.WRITE)
    await store.update_object(container, name, posted_attributes(request))
    return request.answer(202)


def posted_attributes(request: SwiftRequest) -> ObjectAttributes:
    """What the object has after a POST. A static manifest stays one; a dynamic one must be named again,
    as in Swift, else its own content is all it is. Raises SwiftError 400."""
    headers = content_headers(request.headers)
    if manifest := manifest_prefix(request.headers):
        headers[MANIFEST_HEADER] = manifest
    asked = request.header("Content-Type") or request.flag("X-Detect-Content-Type")
    return ObjectAttributes(
        content_type=content_type_of(request.headers, request.target.name) if asked else "",
        headers=headers,
        meta=user_metadata(request.headers, "object"),
        delete_at_s=delete_at(request.headers, request.now_s),
        kind="dlo" if manifest else "",
    )
