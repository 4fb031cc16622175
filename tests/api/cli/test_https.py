"""HTTPS on the public port: two configuration lines; a new certificate needs no restart."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from swiftclient import client as swiftclient

from tests.api.store import RunningStore, start_store


class Pair(NamedTuple):
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


def write_pair(folder: Path, days: int = 30) -> Pair:
    """A new self-signed certificate for 127.0.0.1 in the same two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "atoll test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(folder / "server.pem", folder / "server.key")
    key_text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(key_text)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return write_pair(tmp_path)


@pytest.fixture
def secure_store(tmp_path: Path, pair: Pair) -> Iterator[RunningStore]:
    folder = tmp_path / "store"
    folder.mkdir()
    certificate, key = map(str, pair)
    with start_store(folder, tls_certificate=certificate, tls_key=key) as running:
        yield running


def served_certificate(store: RunningStore) -> bytes:
    """The certificate that a new connection is shown, DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", store.port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def certificate_in(pair: Pair) -> bytes:
    """The certificate in the file, DER."""
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def test_both_apis_speak_https(secure_store: RunningStore, pair: Pair) -> None:
    assert secure_store.endpoint.startswith("https://")
    s3 = boto3.client(
        "s3",
        endpoint_url=secure_store.endpoint,
        aws_access_key_id=secure_store.access_key,
        aws_secret_access_key=secure_store.secret_key,
        region_name="us-east-1",
        verify=str(pair.certificate),
    )
    s3.create_bucket(Bucket="secure")
    s3.put_object(Bucket="secure", Key="large", Body=bytes(6_000_000))
    s3.close()
    swift = swiftclient.Connection(
        f"{secure_store.endpoint}/auth/v1.0",
        "demo:demo",
        secure_store.secret_key,
        cacert=str(pair.certificate),
        retries=0,
    )
    headers, body = swift.get_object("secure", "large")
    swift.close()
    assert body == bytes(6_000_000)
    assert headers["content-length"] == "6000000"


def test_a_new_certificate_is_served_without_a_restart(secure_store: RunningStore, pair: Pair) -> None:
    before = certificate_in(pair)
    assert served_certificate(secure_store) == before
    pids = secure_store.worker_pids()
    renewed = write_pair(pair.certificate.parent)
    assert certificate_in(renewed) != before
    secure_store.wait_for(  # any worker may answer: several times in a row
        lambda: all(served_certificate(secure_store) == certificate_in(renewed) for _ in range(8))
    )
    assert secure_store.worker_pids() == pids


def test_a_broken_renewal_leaves_the_old_certificate(secure_store: RunningStore, pair: Pair) -> None:
    before = certificate_in(pair)
    pair.certificate.write_text("not a certificate")
    secure_store.wait_for(lambda: "certificate failed" in secure_store.banner)
    assert served_certificate(secure_store) == before
    assert secure_store.serves()
