"""Temporary URLs: a signature over method, end and path with a key kept in an account or container.

Source: the Swift manual, "TempURL". The signature is an HMAC, in hex or as `<digest>:<base64>`, over

    [ip=<range> LF] method LF expires LF path          path: decoded, or `prefix:` and its beginning

All functions are pure: `app.py` fetches the keys and asks in order.
"""

import base64
import binascii
import datetime
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from proxy.http_conditions import format_date
from proxy.swift.access import Need
from proxy.swift.errors import SwiftError
from proxy.swift.request import Target

DIGESTS: Final = ("sha1", "sha256", "sha512")
METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE")
KEY_NAMES: Final = ("temp-url-key", "temp-url-key-2")
"""The metadata that hold the keys: X-Account-Meta-Temp-URL-Key and its second, also of containers."""

FORBIDDEN_HEADERS: Final = ("X-Object-Manifest", "X-Copy-From", "Destination")
"""With these a bearer could reach objects that the URL was not signed for."""

FORBIDDEN_PARAMETERS: Final = ("multipart-manifest", "extract-archive", "bulk-delete")

_SIZES: Final = {20: "sha1", 32: "sha256", 64: "sha512"}
_ISO_FORMS: Final = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")
_SIGNED_FOR: Final = {"HEAD": ("HEAD", "GET", "PUT", "POST")}
"""A URL signed for these methods may be asked for its HEAD, too."""


class TempUrl(NamedTuple):
    """The parameters of a signed URL. expires: as signed, in decimal; signature: raw bytes."""

    signature: bytes
    digest: str
    expires_s: int
    prefix: str | None
    ip_range: str | None
    filename: str | None
    inline: bool


def is_tempurl(query: Mapping[str, str]) -> bool:
    """True for a request that comes with a signed URL, good or bad."""
    return "temp_url_sig" in query or "temp_url_expires" in query


def invalid(text: str = "Temp URL invalid") -> SwiftError:
    """401, as Swift answers every signed URL that is not good."""
    return SwiftError(401, f"401 Unauthorized: {text}", {"Www-Authenticate": 'Swift realm="unknown"'})


def parse(query: Mapping[str, str]) -> TempUrl:
    """The signed URL of a query. Raises SwiftError 401."""
    digest, signature = parse_signature(query.get("temp_url_sig", ""))
    return TempUrl(
        signature=signature,
        digest=digest,
        expires_s=parse_expires(query.get("temp_url_expires", "")),
        prefix=query.get("temp_url_prefix"),
        ip_range=query.get("temp_url_ip_range"),
        filename=query.get("filename"),
        inline="inline" in query,
    )


def parse_signature(text: str) -> tuple[str, bytes]:
    """Digest name and bytes of a signature: hex (its length names the digest) or digest:base64."""
    digest, colon, encoded = text.partition(":")
    try:
        if not colon:
            raw = bytes.fromhex(text) if text.isalnum() else b""
            return _SIZES[len(raw)], raw
        padded = encoded.replace("-", "+").replace("_", "/") + "=" * (-len(encoded) % 4)
        raw = base64.b64decode(padded, validate=True)
    except (KeyError, ValueError, binascii.Error) as error:
        raise invalid() from error
    if _SIZES.get(len(raw)) != digest:
        raise invalid()
    return digest, raw


def parse_expires(text: str) -> int:
    """Unix seconds of an end given in seconds or as an ISO 8601 time in UTC."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    for form in _ISO_FORMS:
        try:
            moment = datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        return int(moment.timestamp())
    raise invalid()


def check_use(
    url: TempUrl, method: str, target: Target, headers: Mapping[str, str], query: Mapping[str, str]
) -> None:
    """Refuse uses that no signature can allow. Raises SwiftError 401, 400."""
    if method not in METHODS or not target.name:
        raise invalid()
    if url.prefix is not None and not target.name.startswith(url.prefix):
        raise invalid()
    for name in FORBIDDEN_HEADERS:
        if name in headers:
            raise SwiftError(400, f"The header {name!r} is not allowed in this tempurl")
    for name in FORBIDDEN_PARAMETERS:
        if name in query:
            raise SwiftError(400, f"The parameter {name!r} is not allowed in this tempurl")


def check_time_and_place(url: TempUrl, *, now_s: int, remote: str) -> None:
    """Raises SwiftError 401 for a URL whose time is over, or that comes from another address."""
    if url.expires_s <= now_s:
        raise invalid()
    if url.ip_range is not None and not in_range(remote, url.ip_range):
        raise invalid()


def signed_by(url: TempUrl, method: str, target: Target, keys: Iterable[str]) -> bool:
    """True where one of the keys signed the URL for this method, or for one that includes it."""
    expected = [
        signature(key, url, signed_method, target)
        for key in keys
        for signed_method in _SIGNED_FOR.get(method, (method,))
    ]
    return any(hmac.compare_digest(url.signature, right) for right in expected)


def signature(key: str, url: TempUrl, method: str, target: Target) -> bytes:
    """The right signature of a URL for `method` under `key`."""
    if url.prefix is None:
        path = f"/v1/{target.account}/{target.container}/{target.name}"
    else:
        path = f"prefix:/v1/{target.account}/{target.container}/{url.prefix}"
    lines = [] if url.ip_range is None else [f"ip={url.ip_range}"]
    text = "\n".join([*lines, method, str(url.expires_s), path])
    return hmac.digest(
        key.encode("utf-8", "surrogateescape"), text.encode("utf-8", "surrogateescape"), url.digest
    )


def in_range(remote: str, ip_range: str) -> bool:
    """True where an address lies in a network in CIDR notation; False where either cannot be read."""
    try:
        return ipaddress.ip_address(remote) in ipaddress.ip_network(ip_range, strict=False)
    except ValueError:
        return False


def keys_of(meta: Mapping[str, str]) -> list[str]:
    """The keys in the metadata of an account or a container."""
    return [meta[name] for name in KEY_NAMES if meta.get(name)]


def need_of(method: str) -> Need:
    """What a method does with the object's container."""
    return Need.READ if method in ("GET", "HEAD") else Need.WRITE


def response_headers(url: TempUrl, target: Target) -> dict[str, str]:
    """What a download by signed URL says beside the object's headers: a name to save it as, its end."""
    name = url.filename or target.name.rstrip("/").rpartition("/")[2]
    kind = "inline" if url.inline else "attachment"
    named = f"{kind}; filename=\"{_quoted(name)}\"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Disposition": kind if url.inline and not url.filename else named,
        "Expires": format_date(url.expires_s),
    }


def _quoted(name: str) -> str:
    """A name within quotes of a header: what would end them, or the line, is percent-encoded."""
    return quote(name, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")


def public_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers without the user metadata that a bearer may not see (all but X-Object-Meta-Public-*)."""
    return {
        name: value
        for name, value in headers.items()
        if not name.lower().startswith("x-object-meta-")
        or name.lower().startswith("x-object-meta-public-")
    }
