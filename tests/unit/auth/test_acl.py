"""Swift container ACLs: what is accepted, its canonical form, and whom it lets in."""

import pytest

from proxy.auth import errors
from proxy.auth.acl import (
    ACL_BYTES_MAX,
    ACL_ENTRIES_MAX,
    NO_ACL,
    may_list,
    may_read,
    may_write,
    parse_read_acl,
    parse_write_acl,
)
from proxy.auth.users import User

ANN = User("ann", "AUTH_team", "ATANN", "secret", "team:ann")


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("", ""),
        (" , ,", ""),
        (".r:*", ".r:*"),
        (".r : *, .rlistings ", ".r:*,.rlistings"),
        (".referrer:*.Example.com", ".r:.example.com"),
        (".ref:-.example.com,.referer:host", ".r:-.example.com,.r:host"),
        (".r:-*", ".r:-*"),
        ("team,team:ann , *:ann,team:*", "team,team:ann,*:ann,team:*"),
        ("*:*", "*:*"),
    ],
)
def test_canonical_form(sent: str, canonical: str) -> None:
    acl = parse_read_acl(sent)
    assert acl.text == canonical
    assert parse_read_acl(canonical) == acl


@pytest.mark.parametrize(
    "text",
    [".r:", ".r:-", ".r", ".r:.", ".r:*.", ".r:-.", ".x:y", ".rlisting", ":x", "x:", "*", ".r:a b",
     ".r:http://a", ".r:a*b", ".r:**", "a\nb", "x" * (ACL_BYTES_MAX + 1), "a," * (ACL_ENTRIES_MAX + 1)],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(errors.InvalidAcl):
        parse_read_acl(text)


def test_referrers_do_not_write() -> None:
    with pytest.raises(errors.InvalidAcl):
        parse_write_acl("team,.r:*")
    assert parse_write_acl("team:ann").grants == {"team:ann"}


@pytest.mark.parametrize(
    "entry", ["team", "team:ann", "team:*", "*:ann", "*:*", "AUTH_team", "AUTH_team:ann", "AUTH_team:*"]
)
def test_users_that_are_named(entry: str) -> None:
    acl = parse_read_acl(f"other,{entry}")
    assert may_read(acl, ANN)
    assert may_list(acl, ANN)
    assert may_write(parse_write_acl(entry), ANN)
    assert not may_read(acl, None)
    assert not may_list(acl, None)
    assert not may_write(acl, None)


@pytest.mark.parametrize("entry", ["ann", "team:bob", "*:bob", "other:*", "tea", "team:an", "TEAM"])
def test_users_that_are_not(entry: str) -> None:
    acl = parse_read_acl(entry)
    assert not may_read(acl, ANN)
    assert not may_list(acl, ANN)
    assert not may_write(acl, ANN)


@pytest.mark.parametrize(
    ("acl", "referer", "allowed"),
    [
        (".r:*", None, True),
        (".r:*", "http://x/", True),
        (".r:*", "http://[broken", True),
        (".r:-*,.r:*", None, True),
        (".r:*,.r:-*", None, False),
        (".r:a.example.com", "http://a.example.com/page", True),
        (".r:a.example.com", "http://A.Example.COM:8080/page", True),
        (".r:a.example.com", "http://b.example.com/page", False),
        (".r:a.example.com", "a.example.com", False),
        (".r:a.example.com", None, False),
        (".r:a.example.com", "http://[broken", False),
        (".r:.example.com", "http://a.example.com/", True),
        (".r:.example.com", "http://example.com/", False),
        (".r:.example.com", "http://example.com.evil/", False),
        (".r:*,.r:-.example.com", "http://a.example.com/", False),
        (".r:*,.r:-.example.com", "http://other/", True),
        (".r:-.example.com,.r:ok.example.com", "http://ok.example.com/", True),
        ("", None, False),
    ],
)
def test_referrers(acl: str, referer: str | None, allowed: bool) -> None:
    parsed = parse_read_acl(acl)
    assert may_read(parsed, None, referer) is allowed
    assert may_list(parsed, None, referer) is False
    assert may_list(parse_read_acl(f"{acl},.rlistings"), None, referer) is allowed
    assert not may_write(parsed, None)


def test_listings_alone_open_nothing() -> None:
    acl = parse_read_acl(".rlistings")
    assert not may_list(acl, None)
    assert not may_list(acl, ANN)
    assert not may_read(NO_ACL, ANN)
