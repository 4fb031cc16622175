"""The two spellings of time in signed requests, parsed strictly and fast."""

import datetime
import re

_AMZ_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_HTTP_DATE = re.compile(
    r"(?:[A-Za-z]{3,9}, ?)?([0-9]{1,2})[ -]([A-Za-z]{3})[ -]([0-9]{4}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:GMT|UTC|Z|([+-])([0-9]{2})([0-9]{2}))"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


def parse_amz_date(text: str) -> float | None:
    """Seconds since the Unix epoch of ISO 8601 basic UTC (`20130524T000000Z`), else None."""
    if (match := _AMZ_DATE.fullmatch(text)) is None:
        return None
    return _timestamp(*map(int, match.groups()))


def parse_http_date(text: str) -> float | None:
    """Seconds since the Unix epoch of an RFC 1123 date with GMT or a numeric zone, else None."""
    if (match := _HTTP_DATE.fullmatch(text)) is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    if (month_number := _MONTHS.get(month.lower())) is None:
        return None
    time_s = _timestamp(int(year), month_number, *map(int, (day, hour, minute, second)))
    if time_s is None or sign is None:
        return time_s
    offset_s = int(zone_hours) * 3600 + int(zone_minutes) * 60
    return time_s - offset_s if sign == "+" else time_s + offset_s


def _timestamp(*moment: int) -> float | None:
    """From year, month, day, hour, minute and second, all UTC."""
    try:
        return datetime.datetime(*moment, tzinfo=datetime.UTC).timestamp()  # type: ignore[misc,arg-type]
    except ValueError:  # the 31st of February
        return None


def format_amz_date(time_s: float) -> str:
    """ISO 8601 basic UTC, as `x-amz-date` spells it."""
    moment = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    # not %Y, which leaves out the zeros of early years
    return f"{moment.year:04}{moment:%m%dT%H%M%SZ}"
