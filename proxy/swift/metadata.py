"""Metadata in headers: what a request says of an account, container or object, within Swift's limits.

Pure functions from headers to the core's dictionaries and back. User metadata travel as
X-<Level>-Meta-<Name>; the core keeps the lower-case name alone. Limits are those `/info` shows.
"""

import functools
import mimetypes
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from proxy.core.types import ObjectAttributes, ObjectHead
from proxy.swift.errors import bad_request, not_implemented
from proxy.swift.request import is_true

META_NAME_MAX_BYTES: Final = 128
META_VALUE_MAX_BYTES: Final = 256
META_COUNT_MAX: Final = 90
META_OVERALL_MAX_BYTES: Final = 4096
HEADER_VALUE_MAX_BYTES: Final = 8192
CONTENT_TYPE_DEFAULT: Final = "application/octet-stream"
DELETE_AT_MAX_S: Final = 9_999_999_999
"""Swift's last moment: ten digits of Unix seconds."""

CONTENT_HEADERS: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-robots-tag",
)
"""What an object keeps beside its user metadata and content type, by the name the core uses."""

MANIFEST_HEADER: Final = "x-object-manifest"

ABSENT_FEATURES: Final = {
    "X-Versions-Location": "Object versioning",
    "X-History-Location": "Object versioning",
    "X-Versions-Enabled": "Object versioning",
    "X-Container-Sync-To": "Container synchronisation",
    "X-Container-Sync-Key": "Container synchronisation",
    "X-Account-Access-Control": "An account's access list",
    "X-Symlink-Target": "Symbolic links",
}
"""Headers whose silence would be a lie: they are answered with 501."""

ABSENT_PARAMETERS: Final = {"version-id": "Object versioning", "versions": "Object versioning"}


def refuse_absent_features(headers: Mapping[str, str], query: Mapping[str, str]) -> None:
    """Raises SwiftError 501 for a header or parameter that asks for what is not there."""
    for name, feature in ABSENT_FEATURES.items():
        if headers.get(name):
            raise not_implemented(feature)
    for name, feature in ABSENT_PARAMETERS.items():
        if name in query:
            raise not_implemented(feature)


# -- user metadata -----------------------------------------------------------------------------------


def user_metadata(headers: Mapping[str, str], level: str) -> dict[str, str]:
    """The X-<level>-Meta-* headers by lower-case name. level: "account", "container" or "object".

    Raises SwiftError 400 at Swift's limits.
    """
    prefix = f"x-{level}-meta-"
    meta: dict[str, str] = {}
    for name, value in headers.items():
        _check_header_size(name, value)
        lower = name.lower()
        if lower.startswith(prefix):
            meta[lower[len(prefix) :]] = _checked_pair(name[len(prefix) :], value, prefix)
    check_totals(meta)
    return meta


def metadata_changes(headers: Mapping[str, str], level: str) -> dict[str, str]:
    """Metadata to merge into an account's or container's: X-Remove-<level>-Meta-* become "".

    Raises as `user_metadata`.
    """
    changes = user_metadata(headers, level)
    prefix = f"x-remove-{level}-meta-"
    for name in headers:
        if name.lower().startswith(prefix):
            changes[name.lower()[len(prefix) :]] = ""
    return changes


def merged(current: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """What is there after a change; empty values remove. Raises SwiftError 400 at the limits."""
    result = {name: value for name, value in {**current, **changes}.items() if value}
    check_totals(result)
    return result


def check_totals(meta: Mapping[str, str]) -> None:
    """Raises SwiftError 400 for too many metadata, or too much of them."""
    if len(meta) > META_COUNT_MAX:
        raise bad_request(f"Too many metadata items; max {META_COUNT_MAX}")
    if sum(_size(name) + _size(value) for name, value in meta.items()) > META_OVERALL_MAX_BYTES:
        raise bad_request(f"Total metadata too large; max {META_OVERALL_MAX_BYTES}")


def _check_header_size(name: str, value: str) -> None:
    if _size(value) > HEADER_VALUE_MAX_BYTES:
        raise bad_request(f"Header value too long: {name[:META_NAME_MAX_BYTES]}")


def _checked_pair(name: str, value: str, prefix: str) -> str:
    shown = prefix.title() + name[:META_NAME_MAX_BYTES]
    if not name:
        raise bad_request("Metadata name cannot be empty")
    if not (_is_text(name) and _is_text(value)):
        raise bad_request("Metadata must be valid UTF-8")
    if _size(name) > META_NAME_MAX_BYTES:
        raise bad_request(f"Metadata name too long: {shown}")
    if _size(value) > META_VALUE_MAX_BYTES:
        raise bad_request(f"Metadata value longer than {META_VALUE_MAX_BYTES}: {shown}")
    return value


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _is_text(text: str) -> bool:
    """False for bytes that were not UTF-8 (they arrive as surrogates) and for NUL."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def meta_headers(meta: Mapping[str, str], level: str) -> dict[str, str]:
    """Metadata as headers of an answer."""
    prefix = f"X-{level.title()}-Meta-"
    return {prefix + name.title(): value for name, value in meta.items()}


# -- what an object is -------------------------------------------------------------------------------


def object_attributes(headers: Mapping[str, str], name: str, now_s: int) -> ObjectAttributes:
    """What the headers of a PUT say of an object. Raises SwiftError 400, 501."""
    kept = content_headers(headers)
    manifest = manifest_prefix(headers)
    if manifest:
        kept[MANIFEST_HEADER] = manifest
    return ObjectAttributes(
        content_type=content_type_of(headers, name),
        headers=kept,
        meta=user_metadata(headers, "object"),
        delete_at_s=delete_at(headers, now_s),
        kind="dlo" if manifest else "",
    )


def content_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The content headers of a request that an object keeps. Raises SwiftError 400."""
    kept = {name: headers[name] for name in CONTENT_HEADERS if headers.get(name)}
    for name, value in kept.items():
        _check_header_size(name, value)
        if not _is_text(value):
            raise bad_request(f"Header value is not valid UTF-8: {name.title()}")
    return kept


def content_type_of(headers: Mapping[str, str], name: str) -> str:
    """The request's Content-Type, or one guessed from the object's name."""
    given = headers.get("Content-Type", "")
    if given and not is_true(headers.get("X-Detect-Content-Type", "")):
        _check_header_size("Content-Type", given)
        if not _is_text(given):
            raise bad_request("Header value is not valid UTF-8: Content-Type")
        return given
    return guess_type(name)


def guess_type(name: str) -> str:
    """The media type that a name's extension stands for, by Python's own table (not the machine's)."""
    return _media_types().guess_type("/" + name.rpartition("/")[2])[0] or CONTENT_TYPE_DEFAULT


@functools.cache
def _media_types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes(filenames=())


def delete_at(headers: Mapping[str, str], now_s: int) -> int:
    """When the object expires, Unix seconds, 0 for never; X-Delete-After goes first.

    Raises SwiftError 400 for what is no number, or past.
    """
    for header, base_s in (("X-Delete-After", now_s), ("X-Delete-At", 0)):
        if text := headers.get(header, "").strip():
            if not _is_integer(text):
                raise bad_request(f"Non-integer {header}")
            moment_s = int(text) + base_s
            if moment_s <= now_s:
                raise bad_request(f"{header} in past")
            if moment_s > DELETE_AT_MAX_S:
                raise bad_request(f"{header} is too far ahead; max {DELETE_AT_MAX_S}")
            return moment_s
    return 0


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 19


def manifest_prefix(headers: Mapping[str, str]) -> str:
    """`container/prefix` of X-Object-Manifest, decoded, or "". Raises SwiftError 400."""
    value = headers.get("X-Object-Manifest", "")
    if not value:
        return ""
    text = unquote(value.encode("utf-8", "surrogateescape"), errors="surrogateescape")
    container, _, prefix = text.partition("/")
    bad_prefix = not prefix or prefix.startswith("/") or "?" in value or "&" in value
    if not container or bad_prefix or not _is_text(text):
        raise bad_request("X-Object-Manifest must be in the format container/prefix")
    return text


def stored_headers(head: ObjectHead) -> dict[str, str]:
    """What an object says of itself in an answer, beside size, ETag and dates."""
    result = {name.title(): head.headers[name] for name in CONTENT_HEADERS if name in head.headers}
    if head.kind == "dlo":
        result["X-Object-Manifest"] = quote(head.headers.get(MANIFEST_HEADER, ""))
    if head.delete_at_s:
        result["X-Delete-At"] = str(head.delete_at_s)
    return {**result, **meta_headers(head.meta, "object")}
