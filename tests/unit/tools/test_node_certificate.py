"""`atoll node secret` and `atoll node certificate`: what they write, and what they refuse."""

import datetime
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from runtime.certificate import NodeCertificate
from runtime.errors import ConfigError
from runtime.node_certificates import CertificateRefused, Pair, make_ca, make_node_certificate
from tools.main import main

NOW = datetime.datetime.now(datetime.UTC)


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_class(kind).value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A CA and the certificate of node `a`."""
    assert main(["node", "certificate", "ca", "--out", str(tmp_path)]) == 0
    command = ["node", "certificate", "node", "a", "--ca", str(tmp_path), "--out", str(tmp_path)]
    assert main([*command, "--host", "a.example.org", "--host", "127.0.0.1"]) == 0
    return tmp_path


def test_the_secret_is_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secret"
    assert main(["node", "secret", str(file)]) == 0
    assert mode(file) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    assert file.read_text().strip() not in capsys.readouterr().out
    before = file.read_bytes()
    assert main(["node", "secret", str(file)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_keys_are_for_their_owner_alone(files: Path) -> None:
    assert {name: mode(files / name) for name in ("ca.pem", "ca.key", "a.pem", "a.key")} == {
        "ca.pem": 0o644,
        "ca.key": 0o600,
        "a.pem": 0o644,
        "a.key": 0o600,
    }


def test_what_a_node_may_do_with_its_certificate(files: Path) -> None:
    certificate = x509.load_pem_x509_certificate((files / "a.pem").read_bytes())
    names = extension(certificate, x509.SubjectAlternativeName)
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["a.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    usage = extension(certificate, x509.KeyUsage)
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert not usage.key_cert_sign
    basic = extension(certificate, x509.BasicConstraints)
    assert isinstance(basic, x509.BasicConstraints)
    assert not basic.ca


def test_a_certificate_never_outlives_its_ca() -> None:
    ca = make_ca("short", NOW, 10)
    made = make_node_certificate(ca, "a", ["a"], NOW, 100)
    authority, certificate = (x509.load_pem_x509_certificate(p) for p in (ca[0], made[0]))
    assert certificate.not_valid_after_utc == authority.not_valid_after_utc
    assert certificate.not_valid_before_utc < NOW


def test_nothing_is_replaced(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    assert main(["node", "certificate", "ca", "--out", str(files)]) == 1
    assert "ca.key is not written: File exists" in capsys.readouterr().err
    (files / "a.key").unlink()
    command = ["node", "certificate", "node", "a", "--host", "a"]
    assert main([*command, "--ca", str(files), "--out", str(files)]) == 1
    assert "a.pem is not written: File exists" in capsys.readouterr().err
    del before["a.key"]
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "host", "days", "reason"),
    [
        ("../a", "a", "1", "no name of a node"),
        ("ca", "a", "1", "no name of a node"),
        ("x" * 65, "a", "1", "1 to 64"),
        ("b", "münchen", "1", "neither a host name nor an IP address"),
        ("b", "b", "0", "0 days"),
        ("b", "b", "99999", "99999 days"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    host: str,
    days: str,
    reason: str,
) -> None:
    out = files / "out"
    command = ["node", "certificate", "node", name, "--host", host, "--days", days]
    assert main([*command, "--ca", str(files), "--out", str(out)]) == 1
    assert reason in capsys.readouterr().err
    assert not out.exists() or not any(out.iterdir())


def test_a_ca_of_another_kind_is_refused(files: Path) -> None:
    ca, node = (
        Pair((files / f"{name}.pem").read_bytes(), (files / f"{name}.key").read_bytes())
        for name in ("ca", "a")
    )
    for wrong, reason in [
        (node, "no CA's"),
        (Pair(ca.certificate, node.key), "not that of its certificate"),
        (Pair(b"", ca.key), "can't be read"),
        (Pair(ca.certificate, b"?"), "can't be read"),
    ]:
        with pytest.raises(CertificateRefused, match=reason):
            make_node_certificate(wrong, "b", ["b"], NOW)
    with pytest.raises(CertificateRefused, match="expired"):
        make_node_certificate(make_ca("old", NOW - datetime.timedelta(2), 1), "b", ["b"], NOW)


def shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """A TLS handshake in memory. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname=host)
    listener = server.wrap_bio(there, back, server_side=True)
    done = {caller: False, listener: False}
    for _ in range(10):
        for side in done:
            try:
                side.do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done.values())


def test_nodes_know_each_other(files: Path) -> None:
    node = NodeCertificate(*(str(files / name) for name in ("ca.pem", "a.pem", "a.key")))
    for host in ("127.0.0.1", "a.example.org"):
        shake(node.server, node.client, host)
    with pytest.raises(ssl.SSLCertVerificationError, match="127\\.0\\.0\\.2"):
        shake(node.server, node.client, "127.0.0.2")


def test_strangers_are_refused_by_both_sides(files: Path, tmp_path: Path) -> None:
    node = NodeCertificate(*(str(files / name) for name in ("ca.pem", "a.pem", "a.key")))
    other = tmp_path / "other"
    assert main(["node", "certificate", "ca", "--out", str(other)]) == 0
    command = ["node", "certificate", "node", "a", "--host", "127.0.0.1"]
    assert main([*command, "--ca", str(other), "--out", str(other)]) == 0
    stranger = NodeCertificate(*(str(other / name) for name in ("ca.pem", "a.pem", "a.key")))
    with pytest.raises(ssl.SSLError):
        shake(node.server, stranger.client, "127.0.0.1")
    with pytest.raises(ssl.SSLError):
        shake(stranger.server, node.client, "127.0.0.1")
    nobody = ssl.create_default_context(cafile=str(files / "ca.pem"))  # trusts, but shows nothing
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        shake(node.server, nobody, "127.0.0.1")


def test_files_that_cannot_be_used_are_named(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster_ca .*nowhere"):
        NodeCertificate(str(files / "nowhere"), str(files / "a.pem"), str(files / "a.key"))
    with pytest.raises(ConfigError, match="cluster_certificate, cluster_key"):
        NodeCertificate(str(files / "ca.pem"), str(files / "a.pem"), str(files / "ca.key"))
