"""Objects: DELETE, of one, or of a static manifest with its segments."""

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.types import NO_CONDITIONS
from proxy.http_conditions import parse_conditions
from proxy.swift import slo
from proxy.swift.access import Need, open_container
from proxy.swift.metadata import refuse_absent_features
from proxy.swift.request import SwiftRequest


async def delete_object(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """Delete an object; 404 where there is none."""
    refuse_absent_features(request.headers, request.query)
    if request.query.get("multipart-manifest") == "delete":
        return await slo.delete_with_segments(store, request)
    account, container_name, name = request.target
    container = await open_container(store, request.caller, account, container_name, Need.WRITE)
    conditions = parse_conditions(request.headers)
    if conditions == NO_CONDITIONS:
        await store.delete_existing(container, name)
    else:
        await store.delete_object(container, name, conditions=conditions)
    return request.answer(204)
