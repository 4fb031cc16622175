"""Tokens of a Keystone: what they make of a caller, how long an answer counts, and without Keystone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from proxy.auth.errors import InvalidToken, KeystoneAway, TokenExpired, UnsupportedAlgorithm
from proxy.auth.keystone import FRESH_S, STALE_S, Keystone, Login, Reply
from proxy.auth.keystone_keys import KeystoneKeys
from proxy.auth.types import RequestView
from runtime.access_rules import Asked
from runtime.randomness import SystemRandomness

NOW_S = 1_800_000_000.0
EXPIRES = "2027-01-15T18:00:00.000000Z"
EXPIRES_S = 1_800_036_000.0


class OneKeystone:
    """A Keystone that knows some tokens. away: does not answer."""

    def __init__(self) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.away = False
        self.asked = 0
        self.logins = 0
        self.own = "own-1"

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        await asyncio.sleep(0)
        if self.away:
            raise KeystoneAway("away")
        if path == "/s3tokens":
            return self._signed(headers["X-Auth-Token"], msgspec.json.decode(body)["credentials"])
        if method == "POST":
            self.logins += 1
            token = msgspec.json.encode({"token": {"expires_at": EXPIRES}})
            return Reply(201, {"x-subject-token": self.own}, token)
        self.asked += 1
        if headers["X-Auth-Token"] != self.own:
            return Reply(401, {}, b"")
        if headers["X-Subject-Token"] == self.own:
            return Reply(200, {}, b"{}")
        found = self.tokens.get(headers["X-Subject-Token"])
        return Reply(200, {}, msgspec.json.encode({"token": found})) if found else Reply(404, {}, b"")

    def _signed(self, own: str, given: dict[str, str]) -> Reply:
        """The signature `right` of any text is that of the key `known`."""
        if own != self.own or (given["access"], given["signature"]) != ("known", "right"):
            return Reply(401, {}, b"")
        return Reply(200, {}, msgspec.json.encode({"token": self.tokens["of the key"]}))

    def issue(self, text: str, *roles: str, **more: Any) -> None:
        """A token of user u on project p."""
        self.tokens[text] = {
            "user": {"id": "u", "name": "someone"},
            "project": {"id": "p"},
            "roles": [{"name": role} for role in roles],
            "expires_at": EXPIRES,
            **more,
        }


@pytest.fixture
def place() -> OneKeystone:
    return OneKeystone()


@pytest.fixture
def keystone(place: OneKeystone) -> Keystone:
    return Keystone(place, Login("atoll", "secret"))


@pytest.mark.parametrize(
    ("roles", "account", "admin"),
    [
        (("member", "reader"), "AUTH_p", False),
        (("admin",), "AUTH_p", False),
        (("reader",), "p", False),
        ((), "p", False),
        (("member", "ResellerAdmin"), "AUTH_p", True),
    ],
)
async def test_roles_make_owners(
    keystone: Keystone, place: OneKeystone, roles: tuple[str, ...], account: str, admin: bool
) -> None:
    place.issue("t", *roles)
    user = await keystone.user_of("t", NOW_S)
    assert (user.account, user.admin, user.swift_login) == (account, admin, "p:u")


async def test_an_answer_counts_for_a_while(keystone: Keystone, place: OneKeystone) -> None:
    place.issue("t", "member")
    await keystone.user_of("t", NOW_S)
    del place.tokens["t"]
    await keystone.user_of("t", NOW_S + FRESH_S - 1)
    assert place.asked == 1
    with pytest.raises(InvalidToken):
        await keystone.user_of("t", NOW_S + FRESH_S)
    with pytest.raises(InvalidToken):  # nor is it remembered as good
        await keystone.user_of("t", NOW_S + 1)


async def test_known_users_are_served_while_keystone_is_away(
    keystone: Keystone, place: OneKeystone
) -> None:
    place.issue("t", "member")
    place.issue("unseen", "member")
    await keystone.user_of("t", NOW_S)
    place.away = True
    assert (await keystone.user_of("t", NOW_S + STALE_S - 1)).account == "AUTH_p"
    with pytest.raises(KeystoneAway):
        await keystone.user_of("t", NOW_S + STALE_S)
    with pytest.raises(KeystoneAway):
        await keystone.user_of("unseen", NOW_S)


async def test_an_expired_token_is_not_taken_even_while_it_is_known(
    keystone: Keystone, place: OneKeystone
) -> None:
    place.issue("t", "member", expires_at="2027-01-15T08:00:10Z")
    await keystone.user_of("t", NOW_S)
    with pytest.raises(TokenExpired):
        await keystone.user_of("t", NOW_S + 10)


async def test_the_store_logs_in_once_for_many_and_again_when_its_token_is_gone(
    keystone: Keystone, place: OneKeystone
) -> None:
    for number in range(5):
        place.issue(f"t{number}", "member")
    await asyncio.gather(*(keystone.user_of(f"t{number}", NOW_S) for number in range(5)))
    assert place.logins == 1
    place.own = "own-2"
    place.issue("later", "member")
    assert (await keystone.user_of("later", NOW_S)).account == "AUTH_p"
    assert place.logins == 2


@pytest.mark.parametrize("token", ["x" * 9000, "caf\xe9", "line\nbreak"])
async def test_what_can_be_no_token_is_not_asked_about(
    keystone: Keystone, place: OneKeystone, token: str
) -> None:
    with pytest.raises(InvalidToken):
        await keystone.user_of(token, NOW_S)
    assert place.asked == 0


async def test_a_token_without_a_project_is_refused(keystone: Keystone, place: OneKeystone) -> None:
    place.issue("t", "admin")
    del place.tokens["t"]["project"]
    with pytest.raises(InvalidToken):
        await keystone.user_of("t", NOW_S)


async def test_keystone_tells_whose_signature_it_is(keystone: Keystone, place: OneKeystone) -> None:
    place.issue("of the key", "member")
    user = await keystone.user_of_signature("known", "text", "right", NOW_S)
    assert user is not None
    assert user.account == "AUTH_p"
    for _ in range(3):  # wrong signatures make the store log in no more often
        assert await keystone.user_of_signature("known", "text", "wrong", NOW_S) is None
    assert place.logins == 1
    place.own = "own-2"
    assert await keystone.user_of_signature("known", "text", "right", NOW_S) == user
    assert place.logins == 2
    place.away = True
    with pytest.raises(KeystoneAway):
        await keystone.user_of_signature("known", "text", "right", NOW_S)


async def test_a_body_of_signed_chunks_needs_a_key_of_the_store(keystone: Keystone) -> None:
    scope = "known/20270115/us-east-1/s3/aws4_request"
    headers: CIMultiDict[str] = CIMultiDict(
        {
            "Host": "h",
            "x-amz-date": "20270115T080000Z",
            "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=right",
        }
    )
    keys = KeystoneKeys(keystone, SystemRandomness())
    with pytest.raises(UnsupportedAlgorithm):
        await keys.admit(RequestView("PUT", "/b/k", "", headers, NOW_S))


async def test_access_rules_are_followed(keystone: Keystone, place: OneKeystone) -> None:
    rule = {"id": "1", "service": "object-store", "method": "GET", "path": "/v1/AUTH_p/c/**"}
    place.issue("t", "member", application_credential={"id": "a", "access_rules": [rule]})
    good = Asked(("object-store",), "GET", "/v1/AUTH_p/c/o")
    for _ in range(2):  # asked for, and remembered
        assert (await keystone.user_of("t", NOW_S, good)).account == "AUTH_p"
        for asked in (None, good._replace(method="PUT"), good._replace(path="/v1/AUTH_p/d/o")):
            with pytest.raises(InvalidToken):
                await keystone.user_of("t", NOW_S, asked)
