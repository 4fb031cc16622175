"""Objects: PUT of a body. Copies are in `copy.py`, static manifests in `slo.py`."""

import re
from typing import Final

from aiohttp import web

from proxy.core.contract import Store
from proxy.core.types import OBJECT_PUT_MAX_BYTES
from proxy.http_conditions import format_date, parse_conditions
from proxy.swift import copy, slo
from proxy.swift.access import Need, open_container
from proxy.swift.errors import SwiftError
from proxy.swift.headers import etag_header, modified_s
from proxy.swift.metadata import object_attributes, refuse_absent_features
from proxy.swift.request import SwiftRequest, check_object_name

_HEX_MD5: Final = re.compile(r"[0-9a-f]{32}")


async def put_object(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """Any PUT of an object."""
    refuse_absent_features(request.headers, request.query)
    check_object_name(request.target.name)
    if "X-Copy-From" in request.headers:
        return await copy.put_copy(store, request)
    if request.query.get("multipart-manifest") == "put":
        return await slo.put_manifest(store, request)
    return await _put_body(store, request)


async def _put_body(store: Store, request: SwiftRequest) -> web.Response:
    account, container_name, name = request.target
    check_length(request)
    container = await open_container(store, request.caller, account, container_name, Need.WRITE)
    info = await store.put_object(
        container,
        name,
        request.body(),
        object_attributes(request.headers, name, request.now_s),
        conditions=parse_conditions(request.headers),
        md5=promised_md5(request.header("Etag")),
    )
    headers = {
        "Etag": etag_header(info.head).strip('"'),
        "Last-Modified": format_date(modified_s(info.head)),
    }
    return request.answer(201, b"", headers)


def check_length(request: SwiftRequest) -> None:
    """Raises SwiftError 411 where the body's length is not told and it is not chunked; 413."""
    length = request.headers.get("Content-Length")
    if length is None and "Transfer-Encoding" not in request.headers:
        raise SwiftError(411, "Missing Content-Length header.")
    if length is not None and int(length) > OBJECT_PUT_MAX_BYTES:
        raise SwiftError(413, "Your request is too large.")


def promised_md5(etag: str) -> str:
    """The MD5 that the request's Etag promises, "" for none. Raises SwiftError 422 for what no body
    can have."""
    promised = etag.strip().strip('"').lower()
    if promised and not _HEX_MD5.fullmatch(promised):
        raise SwiftError(422)
    return promised
