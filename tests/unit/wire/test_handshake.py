"""The handshake as a dialogue, and everything that must end it without a word."""

import pytest

from runtime.randomness import SeededRandomness
from storage.wire.handshake import (
    HELLO_BYTES,
    MAGIC,
    NONCE_BYTES,
    PROOF_BYTES,
    ClientHandshake,
    HandshakeError,
    Role,
    ServerHandshake,
    check_secret,
    client_proof,
    hello,
    server_proof,
)

SECRET = b"the cluster's own secret"
OTHER = b"some other cluster's one"


def pair(
    client_secret: bytes = SECRET, server_secret: bytes = SECRET, role: Role = Role.CALLS
) -> tuple[ClientHandshake, ServerHandshake]:
    return (
        ClientHandshake(client_secret, role, SeededRandomness(1)),
        ServerHandshake(server_secret, SeededRandomness(2)),
    )


@pytest.mark.parametrize("role", [Role.CALLS, Role.BULK])
def test_both_sides_prove_the_secret(role: Role) -> None:
    client, server = pair(role=role)
    assert server.begin() == b""
    to_client, done = server.feed(client.begin())
    assert (len(to_client), done) == (HELLO_BYTES, None)
    to_server, done = client.feed(to_client)
    assert (len(to_server), done) == (PROOF_BYTES, None)
    to_client, done = server.feed(to_server + b"a first frame")
    assert (len(to_client), done) == (PROOF_BYTES, b"a first frame")
    assert server.role is role
    assert client.feed(to_client + b"its answer") == (b"", b"its answer")


def test_any_split_will_do() -> None:
    client, server = pair()
    to_server, to_client = client.begin(), b""
    client_done: bytes | None = None
    server_done: bytes | None = None
    while client_done is None:
        while to_server:
            reply, server_done = server.feed(to_server[:1])
            to_server, to_client = to_server[1:], to_client + reply
        reply, client_done = client.feed(to_client[:1])
        to_client, to_server = to_client[1:], to_server + reply
    assert (client_done, server_done) == (b"", b"")


def test_a_client_without_the_secret_learns_nothing_but_a_nonce() -> None:
    client, server = pair(client_secret=OTHER)
    to_client, _ = server.feed(client.begin())
    assert to_client == hello(Role.SERVER, to_client[-NONCE_BYTES:])
    proof, _ = client.feed(to_client)
    with pytest.raises(HandshakeError, match="client does not know"):
        server.feed(proof)


def test_a_server_without_the_secret_is_refused() -> None:
    client, server = pair()
    to_client, _ = server.feed(client.begin())
    client.feed(to_client)
    with pytest.raises(HandshakeError, match="server does not know"):
        client.feed(bytes(PROOF_BYTES))


def test_a_proof_can_not_be_reflected() -> None:
    """A server that sends the client's own proof back has proven nothing."""
    client, server = pair()
    to_client, _ = server.feed(client.begin())
    proof, _ = client.feed(to_client)
    with pytest.raises(HandshakeError):
        client.feed(proof)


def test_a_proof_can_not_be_replayed() -> None:
    client, server = pair()
    to_client, _ = server.feed(client.begin())
    proof, _ = client.feed(to_client)
    later = ServerHandshake(SECRET, SeededRandomness(3))
    later.feed(client.begin())
    with pytest.raises(HandshakeError):
        later.feed(proof)


def test_a_proof_is_of_the_role() -> None:
    calls, bulk = hello(Role.CALLS, bytes(NONCE_BYTES)), hello(Role.BULK, bytes(NONCE_BYTES))
    server = hello(Role.SERVER, bytes(NONCE_BYTES))
    assert client_proof(SECRET, calls, server) != client_proof(SECRET, bulk, server)
    assert client_proof(SECRET, calls, server) != server_proof(SECRET, calls, server)


GOOD_HELLO = hello(Role.CALLS, bytes(NONCE_BYTES))


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\nHost: store\r\n\r\n" + bytes(20),
        MAGIC + b"\x02" + GOOD_HELLO[5:],
        MAGIC + b"\x01\x09" + GOOD_HELLO[6:],
        hello(Role.SERVER, bytes(NONCE_BYTES)),
    ],
    ids=["http", "version", "role", "server"],
)
def test_a_server_takes_no_odd_hello(bad: bytes) -> None:
    _, server = pair()
    with pytest.raises(HandshakeError):
        server.feed(bad)


def test_a_client_wants_a_server() -> None:
    client, _ = pair()
    with pytest.raises(HandshakeError, match="no server"):
        client.feed(GOOD_HELLO)


def test_nonces_are_fresh() -> None:
    randomness = SeededRandomness(1)
    first = ClientHandshake(SECRET, Role.CALLS, randomness).begin()
    assert first != ClientHandshake(SECRET, Role.CALLS, randomness).begin()


def test_a_secret_has_a_least_length() -> None:
    assert check_secret(SECRET) == SECRET
    with pytest.raises(ValueError, match="at least 16 bytes"):
        check_secret(b"short")
