"""The spellings of time in S3's answers, formatted once per second and kept.

All instants are whole seconds since the Unix epoch: S3 shows no fractions, so that a listing and a
HEAD of one object agree.
"""

import time
from functools import lru_cache

CACHED_INSTANTS_MAX = 4096

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=CACHED_INSTANTS_MAX)
def http_date(time_s: int) -> str:
    """RFC 9110 IMF-fixdate, whatever the locale: `Mon, 23 Nov 2026 07:47:05 GMT`."""
    at = time.gmtime(time_s)
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon]} {at.tm_year:04d}"
    return f"{day} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"


@lru_cache(maxsize=CACHED_INSTANTS_MAX)
def xml_date(time_s: int) -> str:
    """ISO 8601 as S3's documents have it: `2026-11-23T07:47:05.000Z`."""
    at = time.gmtime(time_s)
    day = f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}"
    return f"{day}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}.000Z"


def whole_seconds(time_ns: int) -> int:
    """The second that an instant in nanoseconds lies in."""
    return time_ns // 1_000_000_000
