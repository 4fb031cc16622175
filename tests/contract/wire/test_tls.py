"""The node protocol over TCP with and without TLS."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage.contract import DeviceFault
from storage.types import BlobName, Count, Counts, Fault
from storage.wire.client import WireDevice
from storage.wire.connection import TcpAddress
from tests.contract.device.words import blob_header
from tests.contract.wire.node import Node, ask, running_node, soon, until

COUNT = Count(b"shard")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as made:
        yield made


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and one of a client that trusts its certificate."""
    certificate, key = tmp_path / "node.pem", tmp_path / "node.key"
    write_certificate(certificate, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    return server, client


def write_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


async def use(device: WireDevice) -> None:
    """A row call and a blob there and back."""
    answers = ask(device, COUNT)
    await until(lambda: bool(answers))
    assert answers == [(Counts(0, 0), b"")]
    data = bytes(range(256)) * 12_000
    name = BlobName(bytes(16), 0)
    writer = await device.create_blob(blob_header(name), soon())
    await writer.write(bytearray(data))
    await writer.commit()
    reader = await device.open_blob(name, soon())
    assert b"".join(await reader.read(0, len(data))) == data
    reader.close()


async def test_over_tcp(node: Node) -> None:
    port = await node.server.listen_tcp("127.0.0.1", 0)
    peer = await node.connected(TcpAddress("127.0.0.1", port))
    await use(WireDevice(peer, 1))


async def test_over_tls(node: Node, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    port = await node.server.listen_tcp("127.0.0.1", 0, contexts[0])
    peer = await node.connected(TcpAddress("127.0.0.1", port, contexts[1]))
    await use(WireDevice(peer, 1))


async def test_a_certificate_that_is_not_trusted_is_refused(
    node: Node, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    port = await node.server.listen_tcp("127.0.0.1", 0, contexts[0])
    where = TcpAddress("127.0.0.1", port, ssl.create_default_context())
    with pytest.raises(DeviceFault) as caught:
        await node.connection(where, keep=False).ready(soon())
    assert caught.value.fault is Fault.UNREACHABLE
    assert "certificate" in caught.value.text


async def test_plain_talk_to_a_tls_port_leaves_nothing_behind(
    node: Node, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    port = await node.server.listen_tcp("127.0.0.1", 0, contexts[0])
    with pytest.raises(DeviceFault):
        await node.connection(TcpAddress("127.0.0.1", port), keep=False).ready(soon())
    assert not node.server.sessions
