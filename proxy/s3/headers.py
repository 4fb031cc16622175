"""Object attributes as headers: read from a write, written to an answer."""

from collections.abc import Mapping
from typing import Final

from proxy.auth.body import stored_content_encoding
from proxy.core.types import ObjectAttributes, ObjectHead
from proxy.s3.answer import clean
from proxy.s3.errors import S3Error, invalid_argument
from proxy.s3.request import S3Request
from proxy.s3.times import http_date, whole_seconds

META_PREFIX: Final = "x-amz-meta-"
USER_META_MAX_BYTES: Final = 2048
"""S3's limit on names and values of user metadata together."""
DEFAULT_CONTENT_TYPE: Final = "binary/octet-stream"

_STORED = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "expires": "Expires",
}
_OVERRIDES = {
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-content-type": "Content-Type",
    "response-expires": "Expires",
}


# -- read --------------------------------------------------------------------------------------


def read_attributes(request: S3Request) -> ObjectAttributes:
    """Content headers and user metadata of a write.

    Raises S3Error MetadataTooLarge, InvalidArgument for values that are not UTF-8.
    """
    headers = request.headers
    stored = {}
    for name in _STORED:
        if (value := headers.get(name)) is not None:
            if name == "content-encoding":
                value = stored_content_encoding(value)
            if value:
                stored[name] = _utf8(name, value)
    content_type = headers.get("Content-Type") or DEFAULT_CONTENT_TYPE
    return ObjectAttributes(_utf8("content-type", content_type), stored, read_meta(request.amz))


def read_meta(amz: Mapping[str, str]) -> dict[str, str]:
    """User metadata by lower-case name. Raises S3Error MetadataTooLarge, InvalidArgument."""
    meta = {}
    size = 0
    for name, value in amz.items():
        if name.startswith(META_PREFIX) and len(name) > len(META_PREFIX):
            short = name[len(META_PREFIX) :]
            meta[_utf8(name, short)] = _utf8(name, value)
            size += len(short.encode("utf-8")) + len(value.encode("utf-8"))
    if size > USER_META_MAX_BYTES:
        fields = {"Size": size, "MaxSizeAllowed": USER_META_MAX_BYTES}
        raise S3Error("MetadataTooLarge", fields=fields)
    return meta


def _utf8(name: str, value: str) -> str:
    """What cannot be stored as text cannot be given back as it came: refused."""
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise invalid_argument(name, "", f"The header {name} is not UTF-8.") from error
    return value


# -- written -----------------------------------------------------------------------------------


def object_headers(request_id: str, head: ObjectHead) -> dict[str, str]:
    """The headers of a GET or HEAD of an object, without length and range."""
    fields = {
        "x-amz-request-id": request_id,
        "Last-Modified": http_date(whole_seconds(head.modified_ns)),
        "ETag": f'"{head.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": clean(head.content_type) or DEFAULT_CONTENT_TYPE,
    }
    for name, value in head.headers.items():
        if (spelled := _STORED.get(name)) is not None:
            fields[spelled] = clean(value)
    for name, value in head.meta.items():
        fields[META_PREFIX + clean(name)] = clean(value)
    return fields


def checksum_headers(checksums: Mapping[str, str], checksum_type: str) -> dict[str, str]:
    """x-amz-checksum-* of stored checksums, with their type."""
    fields = {f"x-amz-checksum-{name.lower()}": value for name, value in checksums.items()}
    if fields and checksum_type:
        fields["x-amz-checksum-type"] = checksum_type
    return fields


def override(fields: dict[str, str], request: S3Request) -> None:
    """Apply response-* parameters, which only signed requests may have.

    Raises S3Error InvalidRequest, InvalidArgument for values that no header can have.
    """
    for name, value in request.query.items():
        if (spelled := _OVERRIDES.get(name)) is not None:
            if request.user is None:
                raise S3Error("InvalidRequest", "Anonymous requests cannot override response headers.")
            if clean(value) != value:
                raise invalid_argument(name, value, f"{name} contains control characters.")
            fields[spelled] = value
