"""What Swift's answers say of an object: ETag, times and the headers made of them. Pure functions."""

from collections.abc import Mapping

from proxy.core.types import ObjectHead
from proxy.http_conditions import Verdict, evaluate, format_date, parse_conditions
from proxy.swift.errors import SwiftError
from proxy.swift.metadata import CONTENT_TYPE_DEFAULT, stored_headers


def timestamp(time_ns: int) -> str:
    """Unix seconds with five decimals, as Swift writes times of its own."""
    return f"{time_ns // 1_000_000_000:010d}.{time_ns % 1_000_000_000 // 10_000:05d}"


def is_static_large(head: ObjectHead) -> bool:
    """True for static manifests, and for S3's multipart objects, which are the same to a client: their
    ETag is no MD5 of the whole, and `multipart-manifest=delete` takes all of them away."""
    return head.kind == "slo" or (head.kind == "" and head.parts > 0)


def etag_header(head: ObjectHead) -> str:
    """The Etag as Swift writes it: bare for a plain object, quoted for what is made of parts."""
    return f'"{head.etag}"' if head.kind or head.parts else head.etag


def modified_s(head: ObjectHead) -> int:
    """Last-Modified in Unix seconds: rounded up, so that nothing is newer than it says."""
    return -(-head.modified_ns // 1_000_000_000)


def object_headers(head: ObjectHead) -> dict[str, str]:
    """All that GET and HEAD say of an object, its size excepted."""
    headers = {
        "Content-Type": head.content_type or CONTENT_TYPE_DEFAULT,
        "Etag": etag_header(head),
        "Last-Modified": format_date(modified_s(head)),
        "X-Timestamp": timestamp(head.modified_ns),
        "Accept-Ranges": "bytes",
    }
    if is_static_large(head):
        headers["X-Static-Large-Object"] = "True"
        if head.manifest_etag:
            headers["X-Manifest-Etag"] = head.manifest_etag
    return {**headers, **stored_headers(head)}


def check_conditions(
    request_headers: Mapping[str, str], etag: str, head: ObjectHead, headers: Mapping[str, str]
) -> None:
    """Raises SwiftError 304 (with `headers`) or 412 where the request's conditions say so. etag: that
    of what would be sent, without quotes."""
    verdict = evaluate(parse_conditions(request_headers), etag, modified_s(head))
    if verdict is Verdict.NOT_MODIFIED:
        raise SwiftError(304, headers=headers)
    if verdict is Verdict.FAILED:
        raise SwiftError(412)
