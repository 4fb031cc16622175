"""What a request asks: bucket, key, sub-resource and parameters, out of the target as it was sent.

The target is read once. Most requests name a plain bucket and key without a query: one regular
expression reads those. Nothing is normalised: `a//b`, `../x` and `%2F` are keys like any other.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from multidict import CIMultiDictProxy

from proxy.auth.types import UNSIGNED, Authenticated, PayloadMode
from proxy.auth.users import User
from proxy.core.types import PART_NUMBER_MAX
from proxy.http import split_target
from proxy.s3.errors import Place, S3Error, invalid_argument

# fmt: off
SUB_RESOURCES: Final = frozenset(
    (
        "abac", "accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete",
        "encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "location",
        "logging", "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable",
        "metadataJournalTable", "metadataTable", "metrics", "notification", "object-lock",
        "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject",
        "replication", "requestPayment", "restore", "retention", "select", "session", "tagging",
        "torrent", "uploadId", "uploads", "versioning", "versions", "website",
    )
)
# fmt: on
"""Query parameters that name another resource than the bucket or object itself."""

QUERY_PARAMETERS_MAX: Final = 256

_PLAIN_TARGET = re.compile(r"/([A-Za-z0-9._-]{1,255})/([A-Za-z0-9\-._~/!*'(),:;=@$&]+)")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

SERVICE, BUCKET, OBJECT = 0, 1, 2
"""Levels of a resource."""


_NOTHING: Final[dict[str, str]] = {}
"""What a request without parameters or x-amz-* headers has of them; never changed."""

_SIGNING = frozenset(("x-amz-content-sha256", "x-amz-date"))
"""Headers that every signed request has: admission's matter alone."""


class S3Request:
    """One request. now_ns: when it came, wall clock; it also is the request's id.

    amz: the x-amz-* headers by lower-case name, repeated ones joined by commas, without those of the
    signature. query: decoded parameters, the first of each name. sub: the sub-resource, "" for none.
    host_bucket: the bucket that the Host header names, if any. conditional: there may be If-* or Range
    headers.
    """

    # Defaults stand in the class: a plain request then costs six assignments, not twenty.
    bucket = ""
    key = ""
    raw_query = ""
    query = _NOTHING
    amz = _NOTHING
    sub = ""
    conditional = False
    host_bucket: str | None = None
    user: User | None = None
    authenticated: Authenticated | None = None
    payload: PayloadMode = UNSIGNED

    def __init__(self, http: web.BaseRequest, now_ns: int) -> None:
        self.http = http
        self.now_ns = now_ns
        self.method = http.method
        self.headers: CIMultiDictProxy[str] = http.headers
        self.raw_path = http.raw_path
        self.request_id = f"{now_ns:016X}"

    @property
    def level(self) -> int:
        """SERVICE, BUCKET or OBJECT."""
        if self.key:
            return OBJECT
        return BUCKET if self.bucket else SERVICE

    @property
    def place(self) -> Place:
        """What the request is about, for errors."""
        return Place(self.bucket, self.key, self.query.get("uploadId", ""))

    @property
    def account(self) -> str:
        """The account of who asks, "" for nobody."""
        return "" if self.user is None else self.user.account

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A query parameter that is a number within bounds. Raises S3Error InvalidArgument."""
        return parse_number(name, self.query.get(name), default, low, high)


def parse_number(name: str, text: str | None, default: int, low: int, high: int) -> int:
    """A decimal number from `low` to `high`; `default` where there is no text.

    Raises S3Error InvalidArgument.
    """
    if text is None or text == "":
        return default
    if text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high:
        return int(text)
    raise invalid_argument(name, text, f"{name} must be a number from {low} to {high}.")


def read_target(request: S3Request, domains: tuple[str, ...]) -> None:
    """Fill in what the target and the Host header say.

    domains: suffixes of virtual-hosted names, lower-case. Raises S3Error InvalidURI,
    InvalidBucketName, InvalidArgument.
    """
    if domains:
        request.host_bucket = bucket_of_host(request.headers.get("Host", ""), domains)
    if request.host_bucket is None and (match := _PLAIN_TARGET.fullmatch(request.raw_path)):
        request.bucket, request.key = match.groups()
    else:
        _read_any_target(request)


def _read_any_target(request: S3Request) -> None:
    request.raw_path, request.raw_query = split_target(request.raw_path)
    path = decoded_path(request.raw_path)
    if not path.startswith("/"):
        raise S3Error("InvalidURI")
    if request.host_bucket is None:
        request.bucket, _, request.key = path[1:].partition("/")
        if request.key and not request.bucket:
            raise S3Error("InvalidBucketName", fields={"BucketName": ""})
    else:
        request.bucket, request.key = request.host_bucket, path[1:]
    if request.raw_query:
        request.query = read_query(request.raw_query)
        request.sub = sub_resource(request.query)


def read_headers(request: S3Request) -> None:
    """Gather the x-amz-* headers, and see whether there is anything of conditions and ranges."""
    amz: dict[str, str] = {}
    for name, value in request.headers.items():
        first = name[0]
        if first in "xX":
            lower = name.lower()
            if lower.startswith("x-amz-") and lower not in _SIGNING:
                amz[lower] = f"{amz[lower]},{value}" if lower in amz else value
        elif first in "iIrR":
            request.conditional = True
    if amz:
        request.amz = amz


def decoded_path(raw_path: str) -> str:
    """A percent-encoded path as text. Raises S3Error InvalidURI for bad escapes, NUL and what is not
    UTF-8."""
    if _BAD_PERCENT.search(raw_path):
        raise S3Error("InvalidURI")
    try:
        text = unquote_to_bytes(raw_path.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise S3Error("InvalidURI", "The key is not UTF-8.") from error
    if "\x00" in text:
        raise S3Error("InvalidURI", "The key contains NUL.")
    return text


def read_query(raw_query: str) -> dict[str, str]:
    """The query's parameters, decoded (`+` is a space). Raises S3Error InvalidArgument."""
    parts = raw_query.split("&")
    if len(parts) > QUERY_PARAMETERS_MAX:
        raise S3Error("InvalidArgument", "The query has too many parameters.")
    query: dict[str, str] = {}
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            query.setdefault(_decoded_parameter(name), _decoded_parameter(value))
    return query


def _decoded_parameter(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    raw = text.replace("+", " ").encode("utf-8", "surrogateescape")
    try:
        decoded = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise S3Error("InvalidArgument", "A query parameter is not UTF-8.") from error
    if "\x00" in decoded:
        raise S3Error("InvalidArgument", "A query parameter contains NUL.")
    return decoded


def sub_resource(query: dict[str, str]) -> str:
    """The one sub-resource among the parameters, "" for none. Raises S3Error InvalidArgument."""
    found = [name for name in query if name in SUB_RESOURCES]
    if len(found) > 1:
        raise S3Error("InvalidArgument", f"Conflicting query parameters: {', '.join(sorted(found))}.")
    return found[0] if found else ""


def bucket_of_host(host: str, domains: tuple[str, ...]) -> str | None:
    """The bucket in `<bucket>.<domain>[:port]`; None for a path-style host."""
    name = host.lower().rpartition(":")[0] if ":" in host and not host.endswith("]") else host.lower()
    for domain in domains:
        if name.endswith("." + domain) and len(name) > len(domain) + 1:
            return name[: -len(domain) - 1]
    return None


def parse_part_number(text: str) -> int:
    """Raises S3Error InvalidArgument unless it is from 1 to 10,000."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PART_NUMBER_MAX:
        return int(text)
    message = f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive."
    raise invalid_argument("partNumber", text, message)
