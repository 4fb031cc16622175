"""Conditional requests (RFC 9110, 13): headers to core `Conditions`, and their evaluation for reads.

Pure functions; the core evaluates the conditions of writes itself, atomically with the write.
"""

import enum
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from proxy.core.types import Conditions

_TAG = re.compile(r'[ \t]*(?:,[ \t]*)*(W/)?(?:"([^"]*)"|([^",\s][^",]*))[ \t]*(?=,|$)')

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

ETAGS_MAX: Final = 100
"""Entity tags of one header beyond this number are not looked at."""


class Verdict(enum.Enum):
    """What the conditions of a GET or HEAD say."""

    PROCEED = "proceed"
    NOT_MODIFIED = "304"
    FAILED = "412"


def parse_etags(text: str) -> tuple[str, ...]:
    """The entity tags of If-Match or If-None-Match without quotes; a weak one keeps its `W/`.

    Tags without quotes are taken as they are, as clients of both APIs send them.
    """
    tags: list[str] = []
    position = 0
    while (match := _TAG.match(text, position)) is not None and len(tags) < ETAGS_MAX:
        weak, quoted, bare = match.groups()
        tags.append((weak or "") + (quoted if quoted is not None else bare.strip()))
        position = match.end()
    return tuple(tags)


def parse_date(text: str | None) -> int | None:
    """Unix seconds of an HTTP date in any of its three forms (RFC 9110, 5.6.7), else None."""
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def format_date(time_s: float) -> str:
    """An HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`. On every answer, so not by `email.utils`."""
    at = time.gmtime(time_s)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
    return f"{day}, {at.tm_mday:02d} {month} {at.tm_year:04d} {clock} GMT"


def parse_conditions(headers: Mapping[str, str]) -> Conditions:
    """The conditions of a request. Headers that cannot be read are as if absent."""
    return Conditions(
        if_match=parse_etags(headers.get("If-Match", "")),
        if_none_match=parse_etags(headers.get("If-None-Match", "")),
        if_modified_since_s=parse_date(headers.get("If-Modified-Since")),
        if_unmodified_since_s=parse_date(headers.get("If-Unmodified-Since")),
    )


def evaluate(conditions: Conditions, etag: str, modified_s: int) -> Verdict:
    """The verdict for a read of a representation, in the order of RFC 9110, 13.2.2.

    etag: without quotes. modified_s: what Last-Modified says, Unix seconds.
    """
    if _refused(conditions, etag, modified_s):
        return Verdict.FAILED
    if conditions.if_none_match:
        weakly = tuple(tag.removeprefix("W/") for tag in conditions.if_none_match)
        return Verdict.NOT_MODIFIED if matches(weakly, etag) else Verdict.PROCEED
    if conditions.if_modified_since_s is not None and modified_s <= conditions.if_modified_since_s:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def _refused(conditions: Conditions, etag: str, modified_s: int) -> bool:
    if conditions.if_match:
        return not matches(conditions.if_match, etag)
    limit_s = conditions.if_unmodified_since_s
    return limit_s is not None and modified_s > limit_s


def matches(tags: tuple[str, ...], etag: str) -> bool:
    """True where `etag` is one of `tags`, or one of them is `*`."""
    return "*" in tags or etag in tags


def range_wanted(if_range: str | None, etag: str, modified_s: int) -> bool:
    """True where If-Range (RFC 9110, 13.1.5) lets the Range header count."""
    if if_range is None:
        return True
    if (date_s := parse_date(if_range)) is not None:
        return date_s == modified_s
    return parse_etags(if_range) == (etag,)
