"""What a token says, and the Fernet keys under which it says it.

A token is Fernet over MessagePack of `Payload`; the first value is the version of this form. Ids of 32
hex digits are packed as 16 bytes. Everything else is looked up when the token is validated, so a token
never knows more than the database does.
"""

import base64
import binascii
import threading
from typing import Any, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import delete, select

from compute.database.engine import Database
from compute.identity.models.tokens import TokenKey
from compute.identity.secrets import Sealer
from runtime.randomness import Randomness

VERSION: Final = 1
KEYS_KEPT: Final = 3
"""The newest key makes tokens, the ones before it still verify them."""
TOKEN_CHARS_MAX: Final = 2048

Id = Any
"""str or bytes; msgspec tells no such union apart by type, and Fernet vouches for what comes."""


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """scope: "", project, domain, system. audit: the token's own id, then that of its chain's first."""

    version: int
    user: Id
    methods: list[str]
    scope: str
    scope_of: Id
    issued_at_us: int
    expires_at_us: int
    audit: list[bytes]
    trust: Id = ""
    application_credential: Id = ""
    access_token: Id = ""

    @property
    def user_id(self) -> str:
        """Whose token it is."""
        return unpacked(self.user)

    @property
    def scope_id(self) -> str:
        """The project or domain."""
        return unpacked(self.scope_of)

    @property
    def audit_ids(self) -> list[str]:
        """As the API writes them."""
        return [base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in self.audit]


def packed(ident: str) -> Id:
    """An id as it goes into a token."""
    try:
        raw = binascii.unhexlify(ident)
    except (ValueError, binascii.Error):
        return ident
    return raw if len(raw) == 16 and raw.hex() == ident else ident


def unpacked(ident: Id) -> str:
    """An id as everyone knows it."""
    return ident.hex() if isinstance(ident, bytes) else str(ident)


class BadToken(Exception):
    """Not a token of ours."""


class TokenKeys:
    """Makes and opens tokens with the keys in the database, which all processes share.

    A token under a key that is not known makes it look once whether the keys were rotated.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._lock = threading.Lock()
        self._numbers: list[int] = []
        self._fernet: MultiFernet | None = None

    def write(self, payload: Payload) -> str:
        """The token's text."""
        fernet = self._fernet or self._load()
        return fernet.encrypt(msgspec.msgpack.encode(payload)).decode("ascii").rstrip("=")

    def read(self, token: str) -> Payload:
        """Raises BadToken."""
        if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise BadToken
        text = (token + "=" * (-len(token) % 4)).encode("ascii")
        fernet = self._fernet or self._load()
        try:
            return self._decoded(fernet.decrypt(text))
        except InvalidToken as error:
            if not text.startswith(b"gAAAA") or not self._rotated():
                raise BadToken from error
        try:
            return self._decoded(self._load().decrypt(text))
        except InvalidToken as error:
            raise BadToken from error

    @staticmethod
    def _decoded(packed_payload: bytes) -> Payload:
        try:
            payload = msgspec.msgpack.decode(packed_payload, type=Payload)
        except msgspec.DecodeError as error:
            raise BadToken from error
        if payload.version != VERSION:
            raise BadToken
        return payload

    def forget(self) -> None:
        """Read the keys anew before the next token: something in identity has changed."""
        self._fernet = None

    def _rotated(self) -> bool:
        with self._database.read() as session:
            return set(session.scalars(select(TokenKey.number))) != set(self._numbers)

    def _load(self) -> MultiFernet:
        with self._lock, self._database.read() as session:
            keys = session.scalars(select(TokenKey).order_by(TokenKey.number.desc())).all()
            assert keys, "identity is bootstrapped before it serves"
            self._numbers = [key.number for key in keys]
            self._fernet = MultiFernet([Fernet(self._sealer.open(key.key)) for key in keys])
            return self._fernet

    def rotate(self, randomness: Randomness, now_us: int, *, only_first: bool = False) -> int:
        """Make a new key and forget the oldest; the newest key's number.

        only_first: do nothing where there is a key. A token lives on while its key is among KEYS_KEPT.
        """
        with self._database.write("identity") as session:
            numbers = session.scalars(select(TokenKey.number).order_by(TokenKey.number.desc())).all()
            newest = numbers[0] if numbers else 0
            if newest and only_first:
                return newest
            key = self._sealer.seal(base64.urlsafe_b64encode(randomness.token(32)))
            session.add(TokenKey(number=newest + 1, key=key, created_at_us=now_us))
            session.execute(delete(TokenKey).where(TokenKey.number <= newest + 1 - KEYS_KEPT))
        self._fernet = None
        return newest + 1
