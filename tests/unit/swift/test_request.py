"""Targets, queries and values of headers."""

import pytest

from proxy.swift.errors import SwiftError
from proxy.swift.request import (
    Target,
    check_object_name,
    is_true,
    parse_query,
    parse_target,
    safe_value,
)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/AUTH_a", Target("AUTH_a")),
        ("/v1/AUTH_a/", Target("AUTH_a")),
        ("/v1.0/AUTH_a/c", Target("AUTH_a", "c")),
        ("/v1/AUTH_a/c/", Target("AUTH_a", "c")),
        ("/v1/AUTH_a/c/o", Target("AUTH_a", "c", "o")),
        ("/v1/AUTH_a/c//o", Target("AUTH_a", "c", "/o")),
        ("/v1/AUTH_a/c/a/../b//", Target("AUTH_a", "c", "a/../b//")),
        ("/v1/AUTH_a/c%2Fo", Target("AUTH_a", "c", "o")),
        ("/v1/AUTH_a/c/%C3%BC%20%25", Target("AUTH_a", "c", "ü %")),
        ("/v1/AUTH_a/c/100%zz", Target("AUTH_a", "c", "100%zz")),
        ("/v1/AUTH_a/c/a+b", Target("AUTH_a", "c", "a+b")),
        ("/v1/AUTH_a/./..", Target("AUTH_a", ".", "..")),
    ],
)
def test_targets(path: str, target: Target) -> None:
    assert parse_target(path) == target


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/AUTH_a/c/%00", 412),
        ("/v1/AUTH_a/c/%ff", 412),
        ("/v1/AUTH_a/c/\udcff", 412),
        ("/v1/AUTH_a/c/%ED%A0%80", 412),
        ("/v2/AUTH_a/c", 400),
        ("*", 400),
        ("/v1", 404),
        ("/v1/", 404),
        ("/v1//c", 404),
        ("/v1/AUTH_a//o", 404),
    ],
)
def test_bad_targets(path: str, status: int) -> None:
    with pytest.raises(SwiftError) as caught:
        parse_target(path)
    assert caught.value.status == status


def test_queries() -> None:
    query = parse_query("prefix=a%2Fb+c&flag&limit=5&limit=6&=x&&marker=%C3%BC")
    assert query == {"prefix": "a/b c", "flag": "", "limit": "5", "": "x", "marker": "ü"}


@pytest.mark.parametrize("raw", ["prefix=%ff", "%fe=x", "&".join(f"p{n}=1" for n in range(101))])
def test_bad_queries(raw: str) -> None:
    with pytest.raises(SwiftError) as caught:
        parse_query(raw)
    assert caught.value.status == 400


def test_names_have_a_limit() -> None:
    check_object_name("ü" * 512)
    with pytest.raises(SwiftError, match="Object name length of 1025 longer than 1024"):
        check_object_name("x" * 1025)


def test_header_values_are_made_safe() -> None:
    assert safe_value("plain ü") == "plain ü"
    assert safe_value("a\r\nX-Evil: 1\x7f") == "a%0D%0AX-Evil: 1%7F"
    assert safe_value("\udcff").isascii()


def test_yes_and_no() -> None:
    assert all(map(is_true, ("true", "True", "1", "yes", "on", "t", "y", " TRUE ")))
    assert not any(map(is_true, ("", "false", "0", "no", "2")))
