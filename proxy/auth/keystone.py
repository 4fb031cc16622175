"""Tokens of a Keystone: who a request of Swift's API is from, asked over the standard calls.

A token that was found good is taken without asking for FRESH_S, so a revoked one may count that long;
while Keystone is away, one that was good goes on counting until it expires, for at most STALE_S. The
caches are bounded and take in only what Keystone has answered for. The network is a `Transport`.

What a user may do follows Swift's `keystoneauth`: who has an operator's role on a project owns its
account `AUTH_<project id>`, ResellerAdmin owns all accounts, others have what containers' lists
(`<project id>:<user id>`) say. A token that is limited by access rules is good for what they say of
`object-store`.
"""

import asyncio
import base64
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from proxy.auth.errors import InvalidToken, KeystoneAway, TokenExpired
from proxy.auth.users import User
from runtime.access_rules import AccessRule, Asked, admits

FRESH_S: Final = 60.0
STALE_S: Final = 3600.0
TOKENS_MAX: Final = 10_000
TOKEN_CHARS_MAX: Final = 8192
RENEW_BEFORE_S: Final = 60.0
"""Our own token is renewed so long before it expires."""

OPERATORS: Final = frozenset({"admin", "manager", "member", "swiftoperator"})
RESELLER_ADMIN: Final = "ResellerAdmin"
PREFIX: Final = "AUTH_"


class Reply(NamedTuple):
    """Keystone's answer. headers: with lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """How Keystone is reached; may be called any number of times at once."""

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One request below Keystone's /v3. Raises KeystoneAway where no answer comes in time."""


class Login(NamedTuple):
    """Whom the store itself is at Keystone. The user needs the role `service` on the project."""

    user: str
    password: str
    project: str = "service"
    domain: str = "Default"

    def __repr__(self) -> str:  # the password is a secret
        return f"Login(user={self.user!r}, project={self.project!r})"


class _Known(NamedTuple):
    user: User
    expires_at_s: float
    asked_at_s: float
    rules: tuple[AccessRule, ...] = ()


class Keystone:
    """Finds the users of tokens. One per process."""

    def __init__(self, transport: Transport, login: Login) -> None:
        self._transport = transport
        self._login = login
        self._own = ""
        self._own_until_s = 0.0
        self._logging_in = asyncio.Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def user_of(self, token: str, now_s: float, asked: Asked | None = None) -> User:
        """Whose token it is. now_s: seconds since the Unix epoch.

        asked: what it is to be good for; a token with access rules is good for nothing else. Raises
        InvalidToken, TokenExpired, KeystoneAway.
        """
        found = await self._found(token, now_s)
        if found.rules and not (asked is not None and admits(found.rules, asked)):
            raise InvalidToken("the token's access rules are not for this request")
        return found.user

    async def _found(self, token: str, now_s: float) -> _Known:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii() or not token.isprintable():
            raise InvalidToken
        key = hashlib.sha256(token.encode("ascii")).digest()
        known = self._known.get(key)
        if known is not None and known.expires_at_s <= now_s:
            del self._known[key]
            raise TokenExpired
        if known is not None and now_s < known.asked_at_s + FRESH_S:
            return known
        try:
            found = await self._ask(token, now_s)
        except KeystoneAway:
            if known is not None and now_s < known.asked_at_s + STALE_S:
                return known
            raise
        except InvalidToken:
            self._known.pop(key, None)
            raise
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > TOKENS_MAX:
            self._known.popitem(last=False)
        return found

    async def _ask(self, token: str, now_s: float) -> _Known:
        reply = await self._validated(token, now_s)
        if reply.status == 401:  # our own token was revoked, or its key is gone
            self._own = ""
            reply = await self._validated(token, now_s)
        if reply.status in (400, 404):
            raise InvalidToken
        if reply.status != 200:
            raise KeystoneAway(f"Keystone answered {reply.status} when asked about a token")
        return known_of(reply.body, now_s)

    async def _validated(self, token: str, now_s: float) -> Reply:
        headers = {"X-Auth-Token": await self._own_token(now_s), "X-Subject-Token": token}
        headers["OpenStack-Identity-Access-Rules"] = "1.0"
        return await self._transport.ask("GET", "/auth/tokens?nocatalog", headers, b"")

    async def user_of_signature(
        self, access_key: str, string_to_sign: str, signature: str, now_s: float
    ) -> User | None:
        """Whose EC2 key made this signature; None for nobody's. Nothing is remembered.

        Raises KeystoneAway.
        """
        text = base64.urlsafe_b64encode(string_to_sign.encode("utf-8", "surrogateescape")).decode(
            "ascii"
        )
        asked = {"access": access_key, "token": text, "signature": signature}
        body = msgspec.json.encode({"credentials": asked})
        reply = await self._checked(body, now_s)
        if reply.status == 401 and not await self._own_is_good(now_s):
            self._own = ""
            reply = await self._checked(body, now_s)
        if reply.status in (400, 401, 404):
            return None
        if reply.status != 200:
            raise KeystoneAway(f"Keystone answered {reply.status} when asked about a signature")
        try:
            return known_of(reply.body, now_s).user
        except InvalidToken:
            return None

    async def _own_is_good(self, now_s: float) -> bool:
        """Tells a wrong signature from our own token's end: both are answered with 401."""
        return (await self._validated(await self._own_token(now_s), now_s)).status == 200

    async def _checked(self, body: bytes, now_s: float) -> Reply:
        headers = {"X-Auth-Token": await self._own_token(now_s), "Content-Type": "application/json"}
        return await self._transport.ask("POST", "/s3tokens", headers, body)

    async def _own_token(self, now_s: float) -> str:
        """The store's own token; of many that need a new one, one asks."""
        if self._own and now_s < self._own_until_s - RENEW_BEFORE_S:
            return self._own
        async with self._logging_in:
            if self._own and now_s < self._own_until_s - RENEW_BEFORE_S:
                return self._own
            body = msgspec.json.encode({"auth": _auth_of(self._login)})
            headers = {"Content-Type": "application/json"}
            reply = await self._transport.ask("POST", "/auth/tokens", headers, body)
            if reply.status != 201:
                raise KeystoneAway(f"Keystone refused the store's own login with {reply.status}")
            self._own_until_s = _instant(_token(reply.body).get("expires_at"))
            self._own = reply.headers.get("x-subject-token", "")
            return self._own


def _auth_of(login: Login) -> dict[str, Any]:
    domain = {"name": login.domain}
    user = {"name": login.user, "domain": domain, "password": login.password}
    return {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": login.project, "domain": domain}},
    }


def _token(body: bytes) -> dict[str, Any]:
    try:
        token = msgspec.json.decode(body)["token"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise KeystoneAway("Keystone's answer is no token") from error
    if not isinstance(token, dict):
        raise KeystoneAway("Keystone's answer is no token")
    return token


def _instant(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError as error:
        raise KeystoneAway("Keystone's token does not say when it expires") from error


def known_of(body: bytes, now_s: float) -> _Known:
    """What a token's body says. Raises InvalidToken without a project, KeystoneAway for nonsense."""
    token = _token(body)
    expires_at_s = _instant(token.get("expires_at"))
    try:
        user_id, user_name = str(token["user"]["id"]), str(token["user"]["name"])
        roles = {str(role["name"]) for role in token.get("roles", [])}
        project_id = str(token["project"]["id"]) if "project" in token else ""
        limits = token.get("application_credential", {}).get("access_rules") or ()
        rules = tuple(
            AccessRule(str(rule["service"]), str(rule["method"]), str(rule["path"])) for rule in limits
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise KeystoneAway("Keystone's token is not whole") from error
    if not project_id:
        raise InvalidToken("the token is not for a project")
    owns = not roles.isdisjoint(OPERATORS)
    user = User(
        name=user_name,
        account=f"{PREFIX}{project_id}" if owns else project_id,  # the latter is no account's name
        access_key="",
        secret_key="",
        swift_login=f"{project_id}:{user_id}",
        admin=RESELLER_ADMIN in roles,
    )
    return _Known(user, expires_at_s, now_s, rules)
