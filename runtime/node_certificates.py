"""The cluster's own CA: making it, and certificates of nodes that it signs.

Only what two nodes need to know each other: ECDSA P-256, one level, a key usage that allows nothing
else, no revocation (a lost key is answered by a new CA and new certificates). `atoll node certificate`
writes the files; `certificate.py` loads them.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.errors import AtollError

CA_DAYS_DEFAULT: Final = 3650
NODE_DAYS_DEFAULT: Final = 825
DAYS_MAX: Final = 36_500
BACKDATED: Final = datetime.timedelta(hours=1)
"""Certificates begin a little before they are made: the nodes' clocks may differ."""
COMMON_NAME_MAX: Final = 64
"""RFC 5280, ub-common-name."""


class CertificateRefused(AtollError):
    """A certificate can't be made of this; nothing was written."""


class Pair(NamedTuple):
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def make_ca(name: str, now: datetime.datetime, days: int = CA_DAYS_DEFAULT) -> Pair:
    """A new CA that signs node certificates and nothing else. Raises CertificateRefused."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = _builder(subject, subject, key.public_key(), now, now + _days(days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return _signed(builder, key, key)


def make_node_certificate(
    ca: Pair, name: str, hosts: Sequence[str], now: datetime.datetime, days: int = NODE_DAYS_DEFAULT
) -> Pair:
    """A certificate for both ends of the node protocol, signed by `ca`.

    hosts: what others connect to, names or IP addresses. It ends with the CA at the latest. Raises
    CertificateRefused.
    """
    issuer, issuer_key = load_ca(ca)
    if now >= issuer.not_valid_after_utc:
        raise CertificateRefused(f"the CA has expired ({issuer.not_valid_after_utc:%Y-%m-%d})")
    if not hosts:
        raise CertificateRefused("name a host that other nodes connect to")
    until = min(now + _days(days), issuer.not_valid_after_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), issuer.subject, key.public_key(), now, until)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    alternatives = x509.SubjectAlternativeName([_host(host) for host in hosts])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    builder = builder.add_extension(alternatives, critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(authority, critical=False)
    return _signed(builder, key, issuer_key)


def load_ca(ca: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA's certificate and key, checked to belong together. Raises CertificateRefused."""
    try:
        certificate = x509.load_pem_x509_certificate(ca.certificate)
        key = load_pem_private_key(ca.key, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateRefused(f"the CA's files can't be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRefused("the CA's key is not one of `atoll node certificate ca`")
    if key.public_key() != certificate.public_key():
        raise CertificateRefused("the CA's key is not that of its certificate")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise CertificateRefused("the certificate is no CA's") from None
    if not basic.ca:
        raise CertificateRefused("the certificate is no CA's")
    return certificate, key


def _days(days: int) -> datetime.timedelta:
    if not 1 <= days <= DAYS_MAX:
        raise CertificateRefused(f"{days} days are not within 1 … {DAYS_MAX}")
    return datetime.timedelta(days=days)


def _name(text: str) -> x509.Name:
    if not 1 <= len(text) <= COMMON_NAME_MAX or not text.isprintable():
        raise CertificateRefused(f"a name has 1 to {COMMON_NAME_MAX} printable characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError as error:
        raise CertificateRefused(f"{text!r} is neither a host name nor an IP address") from error


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """A CA signs certificates, a node signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(by, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), private)
