"""Swift's TempAuth, version 1: a login and its key for a token that carries its own proof.

Tokens are kept nowhere: each is `AUTH_tk` and base64url of

    version 1 byte (1) | expiry 8 bytes, seconds since the Unix epoch | login, UTF-8 | HMAC 32 bytes

The HMAC-SHA256 under the cluster secret covers all before it and the user's present secret key, so a
changed key ends all tokens of the user on every worker at once.
"""

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

from proxy.auth.errors import BadCredentials, InvalidToken, TokenExpired
from proxy.auth.types import Headers
from proxy.auth.users import User, UserDirectory

TOKEN_PREFIX = "AUTH_tk"  # noqa: S105 - a prefix, no token
TOKEN_LIFETIME_S = 86_400
TOKEN_CHARS_MAX = 1024
CLUSTER_SECRET_BYTES_MIN = 16

_VERSION = b"\x01"
_MAC_BYTES = 32
_HEAD_BYTES = 9


class Token(NamedTuple):
    """A token as the client gets it."""

    text: str
    expires_at_s: float
    user: User

    def __repr__(self) -> str:  # the text is a secret
        return f"Token(user={self.user.name!r}, expires_at_s={self.expires_at_s})"


def login_of(headers: Headers) -> tuple[str, str]:
    """X-Auth-User and X-Auth-Key, or X-Storage-User and X-Storage-Pass. Raises BadCredentials."""
    login = headers.get("X-Auth-User") or headers.get("X-Storage-User")
    key = headers.get("X-Auth-Key") or headers.get("X-Storage-Pass")
    if not login or not key:
        raise BadCredentials
    return login, key


class TempAuth:
    """Issues and verifies tokens of one cluster. cluster_secret: the same on all its nodes."""

    def __init__(
        self, users: UserDirectory, cluster_secret: bytes, lifetime_s: int = TOKEN_LIFETIME_S
    ) -> None:
        if len(cluster_secret) < CLUSTER_SECRET_BYTES_MIN:
            raise ValueError(f"a cluster secret has at least {CLUSTER_SECRET_BYTES_MIN} bytes")
        self._users = users
        self._lifetime_s = lifetime_s
        # a key of its own, so that a token proves nothing elsewhere the secret is used
        self._key = hmac.digest(cluster_secret, b"atoll tempauth token v1", "sha256")

    def log_in(self, login: str, key: str, now_s: float) -> Token:
        """A new token for the right key. now_s: seconds since the Unix epoch.

        Raises BadCredentials, in the same time for a wrong login and for a wrong key.
        """
        user = self._users.by_swift_login(login)
        right = "" if user is None else user.secret_key
        # digests compare without telling the length of the right key
        if not hmac.compare_digest(_digest(key), _digest(right)) or user is None:
            raise BadCredentials
        expires_at_s = int(now_s) + self._lifetime_s
        return Token(self._text(user, expires_at_s), expires_at_s, user)

    def verify(self, token: str, now_s: float) -> User:
        """Whose token it is. Raises InvalidToken, TokenExpired."""
        payload, mac = _parse(token)
        try:
            login = payload[_HEAD_BYTES:].decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidToken from error
        user = self._users.by_swift_login(login)
        right = self._mac(payload, "" if user is None else user.secret_key)
        if not hmac.compare_digest(mac, right) or user is None:
            raise InvalidToken
        if now_s >= int.from_bytes(payload[1:_HEAD_BYTES], "big"):
            raise TokenExpired
        return user

    def _text(self, user: User, expires_at_s: int) -> str:
        payload = _VERSION + expires_at_s.to_bytes(8, "big") + user.swift_login.encode("utf-8")
        signed = payload + self._mac(payload, user.secret_key)
        return TOKEN_PREFIX + base64.urlsafe_b64encode(signed).decode("ascii").rstrip("=")

    def _mac(self, payload: bytes, secret_key: str) -> bytes:
        return hmac.digest(self._key, payload + b"\0" + _digest(secret_key), "sha256")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _parse(token: str) -> tuple[bytes, bytes]:
    """Payload and HMAC of a well-formed token. Raises InvalidToken."""
    if not token.startswith(TOKEN_PREFIX) or len(token) > TOKEN_CHARS_MAX:
        raise InvalidToken
    text = token[len(TOKEN_PREFIX) :]
    try:
        signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidToken from error
    if len(signed) <= _HEAD_BYTES + _MAC_BYTES or signed[:1] != _VERSION:
        raise InvalidToken
    return signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
