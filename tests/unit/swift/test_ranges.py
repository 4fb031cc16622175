"""Range headers and conditions, which both front ends share."""

import pytest

from proxy.core.errors import RangeNotSatisfiable
from proxy.core.types import Conditions
from proxy.http_conditions import (
    Verdict,
    evaluate,
    format_date,
    parse_conditions,
    parse_date,
    parse_etags,
    range_wanted,
)
from proxy.http_ranges import ByteRange, ranges_of

FAILED, PROCEED, NOT_MODIFIED = Verdict.FAILED, Verdict.PROCEED, Verdict.NOT_MODIFIED


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=5-", [(5, 5)]),
        ("bytes=-3", [(7, 3)]),
        ("bytes=-300", [(0, 10)]),
        ("bytes=5-300", [(5, 5)]),
        ("BYTES = 1-2", [(1, 2)]),
        ("bytes=0-1,4-5", [(0, 2), (4, 2)]),
        ("bytes= 4-5 ,\t0-1,,", [(4, 2), (0, 2)]),
        ("bytes=0-1,50-60", [(0, 2)]),
        ("bytes=0-" + "9" * 5000, [(0, 10)]),
        ("bytes=" + "0" * 5000 + "1-2", [(1, 2)]),
    ],
)
def test_ranges(header: str, expected: list[tuple[int, int]]) -> None:
    assert ranges_of(header, 10) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=3-1",
        "lines=1-2",
        "bytes=1-2,x",
        "bytes=1",
        "bytes=١-٢",
    ],
)
def test_ignored_headers(header: str | None) -> None:
    assert ranges_of(header, 10) is None


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=-0",
        "bytes=10-20,30-40",
        "bytes=" + "9" * 5000 + "-",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(51)),
        "bytes=0-9,0-9,0-9,0-9",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(9, -1, -1)),
    ],
)
def test_unsatisfiable(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        ranges_of(header, 100 if header.count(",") == 50 else 10)


def test_an_empty_representation() -> None:
    assert ranges_of("bytes=-5", 0) is None
    with pytest.raises(RangeNotSatisfiable):
        ranges_of("bytes=0-", 0)


def test_content_range() -> None:
    assert ByteRange(5, 10).content_range(100) == "bytes 5-14/100"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("*", ("*",)),
        ('"a"', ("a",)),
        ("a", ("a",)),
        ('"a", W/"b" ,"c,d"', ("a", "W/b", "c,d")),
        (' , "a"', ("a",)),
        ("a, b", ("a", "b")),
        ('""', ("",)),
    ],
)
def test_etags(text: str, tags: tuple[str, ...]) -> None:
    assert parse_etags(text) == tags


def test_dates() -> None:
    for text in (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ):
        assert parse_date(text) == 784_111_777
    assert format_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    bad = ("", "yesterday", "0", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT")
    assert [parse_date(text) for text in bad] == [None] * len(bad)


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, PROCEED),
        ({"If-Match": '"e"'}, PROCEED),
        ({"If-Match": "*"}, PROCEED),
        ({"If-Match": '"x", "y"'}, FAILED),
        ({"If-Match": 'W/"e"'}, FAILED),
        ({"If-None-Match": '"e"'}, NOT_MODIFIED),
        ({"If-None-Match": 'W/"e"'}, NOT_MODIFIED),
        ({"If-None-Match": "*"}, NOT_MODIFIED),
        ({"If-None-Match": '"x"'}, PROCEED),
        ({"If-Modified-Since": format_date(100)}, NOT_MODIFIED),
        ({"If-Modified-Since": format_date(99)}, PROCEED),
        ({"If-Modified-Since": "nonsense"}, PROCEED),
        ({"If-Unmodified-Since": format_date(100)}, PROCEED),
        ({"If-Unmodified-Since": format_date(99)}, FAILED),
        ({"If-Match": '"e"', "If-Unmodified-Since": format_date(1)}, PROCEED),
        ({"If-None-Match": '"x"', "If-Modified-Since": format_date(100)}, PROCEED),
        ({"If-Match": '"x"', "If-None-Match": '"e"'}, FAILED),
    ],
)
def test_conditions(headers: dict[str, str], verdict: Verdict) -> None:
    assert evaluate(parse_conditions(headers), "e", 100) is verdict


def test_no_header_is_no_condition() -> None:
    assert parse_conditions({}) == Conditions()


def test_if_range() -> None:
    assert range_wanted(None, "e", 100)
    assert range_wanted('"e"', "e", 100)
    assert range_wanted(format_date(100), "e", 100)
    assert not range_wanted('"x"', "e", 100)
    assert not range_wanted('W/"e"', "e", 100)
    assert not range_wanted(format_date(99), "e", 100)
