"""The mutual challenge that begins each connection: state machines without I/O (doc/formats/wire.md).

Both sides prove that they know the cluster secret: HMAC-SHA256 (RFC 2104) over both hellos, which
hold the version, the role and a fresh nonce of either side. The client proves first, so a peer
without the secret learns nothing but a nonce; whatever is wrong, the connection is closed without a
word. It authenticates the peer, not the bytes that follow: between machines that is what TLS is for.
"""

import enum
import hashlib
import hmac
import struct
from typing import Final

from runtime.randomness import Randomness

MAGIC: Final = b"ATLN"
PROTOCOL_VERSION: Final = 1
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
SECRET_MIN_BYTES: Final = 16
HANDSHAKE_TIME_S: Final = 5.0
"""Both sides give up on a handshake that takes longer."""

_HELLO: Final = struct.Struct(f"<4sBB2x{NONCE_BYTES}s")
HELLO_BYTES: Final = _HELLO.size
_CLIENT_LABEL: Final = b"atoll node protocol: client proof\0"
_SERVER_LABEL: Final = b"atoll node protocol: server proof\0"


class Role(enum.IntEnum):
    """Who speaks, and what a client's connection is for."""

    SERVER = 0
    CALLS = 1
    BULK = 2


class HandshakeError(Exception):
    """The peer is not of this cluster, speaks another version or no such protocol at all."""


def check_secret(secret: bytes) -> bytes:
    """`secret`, or ValueError where it is too short to be one."""
    if len(secret) < SECRET_MIN_BYTES:
        raise ValueError(f"the cluster secret must have at least {SECRET_MIN_BYTES} bytes")
    return secret


def hello(role: Role, nonce: bytes) -> bytes:
    """A side's first message: magic, version, role, two zero bytes, nonce."""
    return _HELLO.pack(MAGIC, PROTOCOL_VERSION, role, nonce)


def role_of(data: bytes) -> Role:
    """The role in a peer's hello. Raises HandshakeError."""
    magic, version, role, _ = _HELLO.unpack(data)
    if magic != MAGIC:
        raise HandshakeError("the peer does not speak the node protocol")
    if version != PROTOCOL_VERSION:
        raise HandshakeError(f"the peer speaks version {version}, this is {PROTOCOL_VERSION}")
    try:
        return Role(role)
    except ValueError:
        raise HandshakeError(f"unknown role {role}") from None


def client_proof(secret: bytes, client_hello: bytes, server_hello: bytes) -> bytes:
    """What a client sends when it has the server's hello."""
    return hmac.digest(secret, _CLIENT_LABEL + client_hello + server_hello, hashlib.sha256)


def server_proof(secret: bytes, client_hello: bytes, server_hello: bytes) -> bytes:
    """What a server sends when it has verified the client's proof."""
    return hmac.digest(secret, _SERVER_LABEL + client_hello + server_hello, hashlib.sha256)


class ClientHandshake:
    """The connecting side: hello -> (server's hello) -> proof -> (server's proof)."""

    def __init__(self, secret: bytes, role: Role, randomness: Randomness) -> None:
        self._secret = secret
        self._hello = hello(role, randomness.token(NONCE_BYTES))
        self._server_hello = b""
        self._received = b""
        self.role = role

    def begin(self) -> bytes:
        """What to send before anything was received."""
        return self._hello

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """(bytes to send, None), or when it has succeeded (b"", bytes received beyond it).

        Raises HandshakeError.
        """
        self._received += data
        reply = b""
        if not self._server_hello:
            if len(self._received) < HELLO_BYTES:
                return b"", None
            reply = self._take_hello()
        if len(self._received) < PROOF_BYTES:
            return reply, None
        expected = server_proof(self._secret, self._hello, self._server_hello)
        if not hmac.compare_digest(self._received[:PROOF_BYTES], expected):
            raise HandshakeError("the server does not know the cluster secret")
        return reply, self._received[PROOF_BYTES:]

    def _take_hello(self) -> bytes:
        self._server_hello = self._received[:HELLO_BYTES]
        self._received = self._received[HELLO_BYTES:]
        if role_of(self._server_hello) is not Role.SERVER:
            raise HandshakeError("the peer is no server")
        return client_proof(self._secret, self._hello, self._server_hello)


class ServerHandshake:
    """The listening side: (client's hello) -> hello -> (client's proof) -> proof."""

    def __init__(self, secret: bytes, randomness: Randomness) -> None:
        self._secret = secret
        self._hello = hello(Role.SERVER, randomness.token(NONCE_BYTES))
        self._client_hello = b""
        self._received = b""
        self.role = Role.SERVER
        """The client's role, once it is proven."""

    def begin(self) -> bytes:
        """What to send before anything was received: nothing."""
        return b""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """(bytes to send, None), or when it has succeeded (proof, bytes received beyond it).

        Raises HandshakeError; then nothing may be sent any more.
        """
        self._received += data
        reply = b""
        if not self._client_hello:
            if len(self._received) < HELLO_BYTES:
                return b"", None
            self._take_hello()
            reply = self._hello
        if len(self._received) < PROOF_BYTES:
            return reply, None
        expected = client_proof(self._secret, self._client_hello, self._hello)
        if not hmac.compare_digest(self._received[:PROOF_BYTES], expected):
            raise HandshakeError("the client does not know the cluster secret")
        self.role = role_of(self._client_hello)
        proof = server_proof(self._secret, self._client_hello, self._hello)
        return reply + proof, self._received[PROOF_BYTES:]

    def _take_hello(self) -> None:
        self._client_hello = self._received[:HELLO_BYTES]
        self._received = self._received[HELLO_BYTES:]
        if role_of(self._client_hello) is Role.SERVER:
            raise HandshakeError("a client can't have the server's role")


Handshake = ClientHandshake | ServerHandshake
