"""Who does not know the secret, or has no certificate, gets nothing from a node: not even a text."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.certificate import NodeCertificate
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceFault
from storage.wire.client import Peer
from storage.wire.connection import TcpAddress
from storage.wire.handshake import HELLO_BYTES, PROOF_BYTES, Role, hello
from tests.cluster.nodes import Cluster, start_cluster
from tools.main import main as atoll

CLOCK = SystemClock()
SILENCE_S = 8.0
"""Longer than a node waits for a handshake; who says nothing at all is cut off after that."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("plain"), 1, keepers=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("tls"), 1, keepers=1, tls=True) as cluster:
        yield cluster


def said_to(cluster: Cluster, *sent: bytes) -> bytes:
    """All that a node says to somebody who sends this, until it closes the connection."""
    heard = b""
    address = ("127.0.0.1", cluster.nodes[0].cluster_port)
    with socket.create_connection(address, timeout=SILENCE_S) as connection:
        for data in sent:
            connection.sendall(data)
        try:
            while piece := connection.recv(65536):
                heard += piece
        except ConnectionResetError:
            pass
    return heard


NONCE = bytes(32)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64),
        b"\x16\x03\x01" + bytes(100),
        b"ATLN\x09" + bytes(35),
        hello(Role.SERVER, NONCE),
    ],
    ids=["http", "tls", "another version", "a server"],
)
def test_who_does_not_speak_the_protocol_hears_nothing(plain: Cluster, sent: bytes) -> None:
    assert said_to(plain, sent) == b""


@pytest.mark.parametrize("role", [Role.CALLS, Role.BULK])
def test_who_proves_nothing_hears_a_nonce_and_no_more(plain: Cluster, role: Role) -> None:
    heard = said_to(plain, hello(role, NONCE), bytes(PROOF_BYTES), b"\x02" + bytes(200))
    assert heard[:8] in {b"", hello(Role.SERVER, NONCE)[:8]}
    assert len(heard) in {0, HELLO_BYTES}


async def asked(cluster: Cluster, secret: bytes, tls: ssl.SSLContext | None) -> str:
    """Why a peer with this secret and certificate is not connected."""
    failures: list[object] = []
    tasks = TaskOwner("test", lambda *failure: failures.append(failure))
    address = TcpAddress("127.0.0.1", cluster.nodes[0].cluster_port, tls)
    peer = Peer(address, secret, CLOCK, SystemRandomness(), tasks)
    peer.start()
    try:
        await peer.facts(CLOCK.monotonic() + 1)
        await asyncio.sleep(0)
    except DeviceFault:
        pass
    try:
        await peer.calls.ready(CLOCK.monotonic() + 1)
    except DeviceFault as fault:
        return fault.text
    finally:
        peer.close()
        await tasks.close()
    return ""


async def test_another_secret_is_refused(plain: Cluster) -> None:
    secret = bytes.fromhex(plain.secret_file.read_text())
    assert await asked(plain, secret, None) == ""
    assert await asked(plain, bytes(32), None) != ""


def certificate(folder: Path, name: str) -> NodeCertificate:
    files = (folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
    return NodeCertificate(*map(str, files))


async def test_only_certificates_of_the_own_ca_are_taken(secured: Cluster, tmp_path: Path) -> None:
    secret = bytes.fromhex(secured.secret_file.read_text())
    own = secured.certificates
    assert own is not None
    assert await asked(secured, secret, certificate(own, "n0").client) == ""
    assert await asked(secured, bytes(32), certificate(own, "n0").client) != ""
    assert await asked(secured, secret, None) != ""
    nobody = ssl.create_default_context(cafile=str(own / "ca.pem"))
    assert await asked(secured, secret, nobody) != ""
    assert atoll(["node", "certificate", "ca", "--out", str(tmp_path)]) == 0
    command = ["node", "certificate", "node", "x", "--ca", str(tmp_path), "--out", str(tmp_path)]
    assert atoll([*command, "--host", "127.0.0.1"]) == 0
    stranger = certificate(tmp_path, "x").client
    stranger.load_verify_locations(str(own / "ca.pem"))
    assert await asked(secured, secret, stranger) != ""


def test_a_tls_port_says_nothing_of_the_protocol(secured: Cluster) -> None:
    """At most an alert of TLS itself, which is at most 7 bytes long."""
    for sent in (hello(Role.CALLS, NONCE), b"GET / HTTP/1.1\r\n\r\n"):
        heard = said_to(secured, sent)
        assert len(heard) <= 7, heard
        assert heard[:1] in {b"", b"\x15"}, heard
