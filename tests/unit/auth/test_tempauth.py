"""TempAuth: logins, tokens, and when tokens die."""

import base64
import dataclasses

import pytest
from multidict import CIMultiDict

from proxy.auth import errors
from proxy.auth.tempauth import TOKEN_CHARS_MAX, TOKEN_LIFETIME_S, TempAuth, login_of
from proxy.auth.users import MemoryUsers, User

DEMO = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
EVE = User("eve", "AUTH_eve", "ATEVE", "another secret", "eve:eve")
SECRET = b"the cluster's secret"
NOW_S = 1_700_000_000.5


@pytest.fixture
def auth() -> TempAuth:
    return TempAuth(MemoryUsers([DEMO, EVE]), SECRET)


def test_login_and_token(auth: TempAuth) -> None:
    token = auth.log_in("demo:demo", DEMO.secret_key, NOW_S)
    assert token.user == DEMO
    assert token.text.startswith("AUTH_tk")
    assert token.expires_at_s == int(NOW_S) + TOKEN_LIFETIME_S
    assert auth.verify(token.text, NOW_S) == DEMO
    assert token.text not in repr(token)


@pytest.mark.parametrize(
    ("login", "key"),
    [
        ("demo:demo", "wrong"),
        ("demo:demo", ""),
        ("nobody:x", "x"),
        ("nobody:x", ""),
        ("", ""),
        ("é", "é"),
    ],
)
def test_wrong_logins(auth: TempAuth, login: str, key: str) -> None:
    with pytest.raises(errors.BadCredentials):
        auth.log_in(login, key, NOW_S)


def test_tokens_end(auth: TempAuth) -> None:
    token = auth.log_in("demo:demo", DEMO.secret_key, NOW_S)
    assert auth.verify(token.text, token.expires_at_s - 0.1) == DEMO
    with pytest.raises(errors.TokenExpired):
        auth.verify(token.text, token.expires_at_s)


def test_tokens_hold_on_every_node_with_the_secret(auth: TempAuth) -> None:
    token = auth.log_in("demo:demo", DEMO.secret_key, NOW_S)
    assert TempAuth(MemoryUsers([DEMO]), SECRET).verify(token.text, NOW_S) == DEMO
    with pytest.raises(errors.InvalidToken):
        TempAuth(MemoryUsers([DEMO]), b"another cluster's secret").verify(token.text, NOW_S)


def test_tokens_die_with_the_secret_key_and_the_user() -> None:
    users = MemoryUsers([DEMO])
    auth = TempAuth(users, SECRET)
    token = auth.log_in("demo:demo", DEMO.secret_key, NOW_S).text
    users.remove("demo")
    with pytest.raises(errors.InvalidToken):
        auth.verify(token, NOW_S)
    users.add(dataclasses.replace(DEMO, secret_key="new"))
    with pytest.raises(errors.InvalidToken):
        auth.verify(token, NOW_S)


def test_any_changed_byte_is_noticed(auth: TempAuth) -> None:
    text = auth.log_in("demo:demo", DEMO.secret_key, NOW_S).text
    signed = base64.urlsafe_b64decode(text[7:] + "==")
    for position in range(len(signed)):
        changed = bytearray(signed)
        changed[position] ^= 1
        token = "AUTH_tk" + base64.urlsafe_b64encode(bytes(changed)).decode().rstrip("=")
        with pytest.raises(errors.InvalidToken):
            auth.verify(token, NOW_S)


def test_another_users_name_does_not_fit_the_proof(auth: TempAuth) -> None:
    text = auth.log_in("eve:eve", EVE.secret_key, NOW_S).text
    signed = base64.urlsafe_b64decode(text[7:] + "==")
    forged = signed[:9] + b"demo:demo" + signed[-32:]
    with pytest.raises(errors.InvalidToken):
        auth.verify("AUTH_tk" + base64.urlsafe_b64encode(forged).decode(), NOW_S)


@pytest.mark.parametrize(
    "token", ["", "AUTH_tk", "AUTH_tkx", "AUTH_tk=", "AUTH_tké", "x" * 70, "AUTH_tk!!"]
)
def test_texts_that_are_no_tokens(auth: TempAuth, token: str) -> None:
    with pytest.raises(errors.InvalidToken):
        auth.verify(token, NOW_S)
    with pytest.raises(errors.InvalidToken):
        auth.verify("AUTH_tk" + "A" * TOKEN_CHARS_MAX, NOW_S)


def test_login_headers() -> None:
    old = {"X-Storage-User": "a:b", "X-Storage-Pass": "c"}
    assert login_of(CIMultiDict({"X-Auth-User": "a:b", "X-Auth-Key": "c"})) == ("a:b", "c")
    assert login_of(CIMultiDict(old)) == ("a:b", "c")
    for name, value in old.items():
        with pytest.raises(errors.BadCredentials):
            login_of(CIMultiDict({name: value}))


def test_weak_cluster_secrets_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        TempAuth(MemoryUsers(), b"short")
