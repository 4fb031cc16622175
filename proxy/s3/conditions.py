"""Conditions and ranges as S3 reads them, on top of RFC 9110 in `proxy/http_conditions.py` and
`proxy/http_ranges.py`: one range only, two forms of conditional write, and a copy's source.
"""

import re
from collections.abc import Mapping
from typing import Final

from proxy.auth.types import Headers
from proxy.core.errors import PreconditionFailed, RangeNotSatisfiable
from proxy.core.types import NO_CONDITIONS, Conditions, ObjectHead
from proxy.http_conditions import Verdict, evaluate, parse_conditions, parse_etags, range_wanted
from proxy.http_ranges import ByteRange, ranges_of
from proxy.s3.errors import S3Error, invalid_argument, not_implemented
from proxy.s3.times import whole_seconds

COPY_SOURCE: Final = "x-amz-copy-source-"

_READ_HEADERS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_COPY_RANGE = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})")


def is_modified(headers: Headers, head: ObjectHead) -> bool:
    """True where a GET or HEAD is to be answered in full, False for 304. Raises PreconditionFailed."""
    found = {name: value for name in _READ_HEADERS if (value := headers.get(name)) is not None}
    if not found:
        return True
    conditions = parse_conditions(found)
    verdict = evaluate(conditions, head.etag, whole_seconds(head.modified_ns))
    if verdict is Verdict.FAILED:
        raise PreconditionFailed("If-Match" if conditions.if_match else "If-Unmodified-Since")
    return verdict is Verdict.PROCEED


def source_conditions(amz: Mapping[str, str]) -> Conditions:
    """The conditions of a copy on its source."""
    found = {
        name: value
        for name in _READ_HEADERS
        if (value := amz.get(COPY_SOURCE + name.lower())) is not None
    }
    return parse_conditions(found) if found else NO_CONDITIONS


def check_source(conditions: Conditions, head: ObjectHead) -> None:
    """For a copy's source "not modified" is a failed condition, too. Raises PreconditionFailed."""
    verdict = evaluate(conditions, head.etag, whole_seconds(head.modified_ns))
    if verdict is not Verdict.PROCEED:
        raise PreconditionFailed(COPY_SOURCE + "if-*")


def write_conditions(headers: Headers) -> Conditions:
    """The conditions of a write: If-Match with one ETag, or If-None-Match with "*".

    Raises S3Error NotImplemented for others, as S3 does.
    """
    match, none_match = headers.get("If-Match"), headers.get("If-None-Match")
    if match is None and none_match is None:
        return NO_CONDITIONS
    if match is not None and none_match is not None:
        raise S3Error("InvalidRequest", "If-Match and If-None-Match exclude each other in a write.")
    if match is None:
        if none_match != "*":
            raise not_implemented("If-None-Match with an ETag in a write")
        return Conditions(if_none_match=("*",))
    etags = parse_etags(match)
    if len(etags) != 1:
        raise not_implemented("If-Match with other than one ETag in a write")
    return Conditions(if_match=etags)


def wanted_range(headers: Headers, head: ObjectHead) -> ByteRange | None:
    """The range to send; None for the whole object. Several ranges are none, as in S3.

    Raises RangeNotSatisfiable.
    """
    text = headers.get("Range")
    if text is None or "," in text:
        return None
    if not range_wanted(headers.get("If-Range"), head.etag, whole_seconds(head.modified_ns)):
        return None
    ranges = ranges_of(text, head.size_bytes)
    return ranges[0] if ranges else None


def parse_copy_range(text: str, size_bytes: int) -> ByteRange:
    """x-amz-copy-source-range: both ends given and within the source.

    Raises S3Error InvalidArgument, RangeNotSatisfiable.
    """
    match = _COPY_RANGE.fullmatch(text.strip())
    if match is None or int(match.group(1)) > int(match.group(2)):
        message = "The range must be bytes=first-last, within the source."
        raise invalid_argument("x-amz-copy-source-range", text, message)
    first, last = int(match.group(1)), int(match.group(2))
    if last >= size_bytes:
        raise RangeNotSatisfiable(size_bytes)
    return ByteRange(first, last - first + 1)
