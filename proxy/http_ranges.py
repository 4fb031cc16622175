"""The grammar of the Range header (RFC 9110, 14.1 and 14.2), as pure functions over text and a size.

No I/O, no API: both front ends call `ranges_of` and send what it says.
"""

import itertools
import re
from typing import Final, NamedTuple

from proxy.core.errors import RangeNotSatisfiable

RANGES_MAX: Final = 50
"""More ranges than this in one request are refused (RFC 9110, 17.15)."""

RANGES_OVERLAPPING_MAX: Final = 2
"""How many pairs of neighbours in a request may overlap."""

RANGES_DESCENDING_MAX: Final = 8
"""How many ranges may begin before the one that was asked for before them."""

_UNIT = "bytes"
_SPEC = re.compile(r"([0-9]*)[ \t]*-[ \t]*([0-9]*)")
_POSITION_DIGITS_MAX = 19


class ByteRange(NamedTuple):
    """`length` (at least 1) bytes from `offset`."""

    offset: int
    length: int

    def content_range(self, size_bytes: int) -> str:
        """The value of Content-Range for this part of `size_bytes` bytes."""
        return f"bytes {self.offset}-{self.offset + self.length - 1}/{size_bytes}"


class RangeSpec(NamedTuple):
    """One range as asked for: first-last, first- (last None), or the last bytes (first None)."""

    first: int | None
    last: int | None


def parse_range(header: str) -> tuple[RangeSpec, ...] | None:
    """The ranges that a header names; None where it is to be ignored: other units, bad syntax."""
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != _UNIT:
        return None
    specs = [_parse_spec(part.strip(" \t")) for part in text.split(",") if part.strip(" \t")]
    good = [spec for spec in specs if spec is not None]
    return tuple(good) if good and len(good) == len(specs) else None


def _parse_spec(text: str) -> RangeSpec | None:
    match = _SPEC.fullmatch(text)
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = (_position(digits) if digits else None for digits in match.groups())
    if first is not None and last is not None and last < first:
        return None
    return RangeSpec(first, last)


def _position(digits: str) -> int:
    """A position; one with absurdly many digits is cut to one beyond every object."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _POSITION_DIGITS_MAX else 10**_POSITION_DIGITS_MAX


def resolve(spec: RangeSpec, size_bytes: int) -> ByteRange | None:
    """The bytes that a spec means in `size_bytes` bytes; None where there are none."""
    if spec.first is None:
        length = min(spec.last or 0, size_bytes)
        return ByteRange(size_bytes - length, length) if length else None
    if spec.first >= size_bytes:
        return None
    last = size_bytes - 1 if spec.last is None else min(spec.last, size_bytes - 1)
    return ByteRange(spec.first, last - spec.first + 1)


def ranges_of(header: str | None, size_bytes: int) -> list[ByteRange] | None:
    """The satisfiable ranges in the order asked for; None: send the whole representation.

    An empty representation is sent whole for a suffix range (RFC 9110, 14.1.2), for it has no byte that
    a Content-Range could name. Raises RangeNotSatisfiable, also for requests that only cost.
    """
    specs = None if header is None else parse_range(header)
    if specs is None:
        return None
    if size_bytes == 0 and any(spec.first is None and spec.last for spec in specs):
        return None
    ranges = [found for spec in specs if (found := resolve(spec, size_bytes)) is not None]
    if not ranges or wasteful(ranges):
        raise RangeNotSatisfiable(size_bytes)
    return ranges


def wasteful(ranges: list[ByteRange]) -> bool:
    """True for a set that makes the store send far more than the object has."""
    descending = sum(later.offset < earlier.offset for earlier, later in itertools.pairwise(ranges))
    ordered = sorted(ranges)
    overlapping = sum(
        later.offset < earlier.offset + earlier.length for earlier, later in itertools.pairwise(ordered)
    )
    return (
        len(ranges) > RANGES_MAX
        or overlapping > RANGES_OVERLAPPING_MAX
        or descending > RANGES_DESCENDING_MAX
    )
