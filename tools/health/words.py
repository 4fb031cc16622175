"""Numbers, times and lists as people read them. Pure; the time zone is an argument."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

NAMES_MAX = 5
"""How many nodes one sentence names."""

RATE_UNITS = ("B/s", "kB/s", "MB/s", "GB/s", "TB/s")


def number(value: int) -> str:
    """41210 -> 41,210."""
    return f"{value:,}"


def counted(value: int, singular: str, plural: str = "") -> str:
    """1 device, 2 devices."""
    return f"{number(value)} {singular if value == 1 else plural or singular + 's'}"


def rate(bytes_per_s: float) -> str:
    """As disks and networks are sold, in decimal units: 180 MB/s."""
    value = max(0.0, bytes_per_s)
    for unit in RATE_UNITS[:-1]:
        if value < 999.5:
            return f"{value:.1f} {unit}" if 0 < value < 9.95 else f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} {RATE_UNITS[-1]}"


def moment(at_ns: int, now_ns: int, zone: tzinfo) -> str:
    """A time of day, with the date where it is another day's: 14:02, 22 Nov 14:02."""
    at, now = _local(at_ns, zone), _local(now_ns, zone)
    if at.date() == now.date():
        return f"{at:%H:%M}"
    if at.year == now.year:
        return f"{at.day} {at:%b %H:%M}"
    return f"{at:%Y-%m-%d %H:%M}"


def day(at_ns: int, zone: tzinfo) -> str:
    """2026-12-03."""
    return f"{_local(at_ns, zone):%Y-%m-%d}"


def _local(at_ns: int, zone: tzinfo) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)).astimezone(zone)


def seconds(value_s: float) -> str:
    """A length of time to two figures: 0.8 ms, 12 s, 3 min, 5 h, 2 days."""
    value_s = abs(value_s)
    if value_s < 1:
        return f"{value_s * 1000:.{1 if value_s < 0.00995 else 0}f} ms"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if value_s < limit:
            value = value_s / size
            return f"{value:.{1 if value < 9.95 else 0}f} {unit}"
    return f"{value_s / 86_400:.0f} days"


def listed(parts: Sequence[str], most: int = 0) -> str:
    """a, b and c. most: name so many at most, and count the others; 0: all."""
    if most and len(parts) > most:
        parts = [*parts[:most], f"{number(len(parts) - most)} more"]
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def ordinals(numbers: Sequence[int]) -> str:
    """Sorted whole numbers with their runs drawn together: 1-3, 7."""
    runs: list[list[int]] = []
    for value in sorted(set(numbers)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
