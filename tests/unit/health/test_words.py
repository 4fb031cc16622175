"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tools.health import words

NOW = int(datetime(2026, 11, 23, 14, 20, tzinfo=UTC).timestamp()) * 10**9
HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B/s"),
        (900, "900 B/s"),
        (1500, "1.5 kB/s"),
        (180e6, "180 MB/s"),
        (9.97e6, "10 MB/s"),
        (999.6e6, "1.0 GB/s"),
        (3e15, "3000.0 TB/s"),
        (-1, "0 B/s"),
    ],
)
def test_rates(value: float, text: str) -> None:
    assert words.rate(value) == text


@pytest.mark.parametrize(
    ("hours_ago", "text"),
    [(0, "14:20"), (14, "00:20"), (15, "22 Nov 23:20"), (24 * 400, "2025-10-19 14:20"), (-1, "15:20")],
)
def test_moments_have_a_date_where_it_is_another(hours_ago: int, text: str) -> None:
    assert words.moment(NOW - hours_ago * HOUR_NS, NOW, UTC) == text


def test_moments_are_of_the_zone() -> None:
    zone = timezone(timedelta(hours=10))
    assert words.moment(NOW, NOW, zone) == "00:20"
    assert words.moment(NOW - HOUR_NS, NOW, zone) == "23 Nov 23:20"
    assert words.day(NOW, zone) == "2026-11-24"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0008, "0.8 ms"),
        (0.25, "250 ms"),
        (1, "1.0 s"),
        (59, "59 s"),
        (180, "3.0 min"),
        (3600 * 5, "5.0 h"),
        (86400 * 9, "9 days"),
        (-3, "3.0 s"),
    ],
)
def test_lengths_of_time(value: float, text: str) -> None:
    assert words.seconds(value) == text


def test_lists() -> None:
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.counted(1, "copy", "copies") == "1 copy"
    assert words.counted(41210, "copy", "copies") == "41,210 copies"
    assert words.ordinals([7, 1, 2, 3, 2]) == "1-3, 7"
    assert words.ordinals([]) == ""
