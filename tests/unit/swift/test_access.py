"""Who may do what."""

import pytest

from proxy.auth.users import User
from proxy.core.types import Container, ContainerHead
from proxy.swift.access import READ_ACL, WRITE_ACL, Caller, Grant, Need, denied, may, require_owner
from proxy.swift.errors import SwiftError

DEMO = User("demo", "AUTH_demo", "k1", "s1", "demo:demo")
OTHER = User("other", "AUTH_other", "k2", "s2", "other:other")
ADMIN = User("root", "AUTH_root", "k3", "s3", "root:root", admin=True)


def container(read: str = "", write: str = "") -> Container:
    system = {READ_ACL: read, WRITE_ACL: write}
    return Container("AUTH_demo", "c", ContainerHead(b"i" * 16, 1, "p", 4, system=system))


@pytest.mark.parametrize(
    ("read", "write", "user", "allowed"),
    [
        ("", "", OTHER, set()),
        ("", "", None, set()),
        (".r:*", "", None, {Need.READ}),
        (".r:*,.rlistings", "", None, {Need.READ, Need.LIST}),
        ("other:other", "", OTHER, {Need.READ, Need.LIST}),
        ("other", "", OTHER, {Need.READ, Need.LIST}),
        ("AUTH_other", "", OTHER, {Need.READ, Need.LIST}),
        ("third", "", OTHER, set()),
        ("", "other:other", OTHER, {Need.WRITE}),
        ("", "other:other", None, set()),
        (".nonsense", ".nonsense", OTHER, set()),
    ],
)
def test_lists(read: str, write: str, user: User | None, allowed: set[Need]) -> None:
    caller, closed = Caller(user), container(read, write)
    assert {need for need in Need if may(caller, closed, need)} == allowed


def test_referrers_decide_by_page() -> None:
    listed = container(".r:.example.com")
    assert may(Caller(None, None, "http://www.example.com/page"), listed, Need.READ)
    assert not may(Caller(None, None, "http://www.example.org/page"), listed, Need.READ)


def test_owners() -> None:
    assert Caller(DEMO).owns("AUTH_demo")
    assert Caller(ADMIN).owns("AUTH_demo")
    assert not Caller(OTHER).owns("AUTH_demo")
    assert not Caller().owns("AUTH_demo")


def test_strangers_get_403_and_nobody_a_challenge() -> None:
    assert denied(Caller(OTHER), "AUTH_demo").status == 403
    refusal = denied(Caller(), 'AUTH_"x')
    assert refusal.status == 401
    assert refusal.headers == {"Www-Authenticate": 'Swift realm="AUTH_%22x"'}
    with pytest.raises(SwiftError):
        require_owner(Caller(OTHER), "AUTH_demo")


def test_a_grant_covers_its_container_or_account_and_its_need_only() -> None:
    one = Grant("AUTH_demo", "c", Need.READ)
    assert one.covers("AUTH_demo", "c", Need.READ)
    assert not one.covers("AUTH_demo", "d", Need.READ)
    assert not one.covers("AUTH_demo", "c", Need.WRITE)
    whole = Grant("AUTH_demo", "", Need.READ)
    assert whole.covers("AUTH_demo", "d", Need.READ)
    assert not whole.covers("AUTH_other", "d", Need.READ)
