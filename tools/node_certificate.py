"""`atoll node certificate` and `atoll node secret`: what nodes know each other by, as files.

Keys and the secret are made with mode 0600, and nothing is ever replaced: a file that is there is an
error. The certificates themselves are `runtime/node_certificates.py`'s.
"""

import argparse
import datetime
import os
from typing import Any, Final

from runtime.node_certificates import (
    CA_DAYS_DEFAULT,
    NODE_DAYS_DEFAULT,
    CertificateRefused,
    Pair,
    make_ca,
    make_node_certificate,
)
from runtime.randomness import SystemRandomness

SECRET_BYTES: Final = 32
PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
CA_NAME: Final = "ca"


def add_secret(commands: Any) -> None:
    """Register `secret`."""
    text = "make a cluster secret, the same file for every node"
    parser = commands.add_parser("secret", help=text, description=text)
    parser.add_argument("file", metavar="FILE")
    parser.set_defaults(func=_secret)


def add_certificate(commands: Any) -> None:
    """Register `certificate` and its subcommands."""
    text = "make the cluster's CA, and a certificate for each node"
    parser = commands.add_parser("certificate", help=text, description=text)
    kinds = parser.add_subparsers(dest="certificate_command", required=True, metavar="COMMAND")
    text = "make the CA: ca.pem for every node, ca.key to keep away from all of them"
    ca = kinds.add_parser("ca", help=text, description=text)
    ca.add_argument("--out", metavar="DIR", required=True, help="where ca.pem and ca.key go")
    ca.add_argument("--name", default="Atoll cluster CA")
    ca.add_argument("--days", type=int, default=CA_DAYS_DEFAULT)
    ca.set_defaults(func=_ca)
    text = "make a node's certificate: NAME.pem and NAME.key for that node alone"
    node = kinds.add_parser("node", help=text, description=text)
    node.add_argument("name", metavar="NAME", help="the node's name")
    node.add_argument(
        "--host",
        action="append",
        required=True,
        help="the host of its cluster_address, a name or an IP address; may be given again",
    )
    node.add_argument("--ca", metavar="DIR", required=True, help="where ca.pem and ca.key are")
    node.add_argument("--out", metavar="DIR", required=True, help="where NAME.pem and NAME.key go")
    node.add_argument("--days", type=int, default=NODE_DAYS_DEFAULT)
    node.set_defaults(func=_node)


def _secret(args: argparse.Namespace) -> int:
    token = SystemRandomness().token(SECRET_BYTES)
    write_new(args.file, token.hex().encode() + b"\n", PRIVATE_MODE)
    print(f"{args.file}: copy it to every node and name it there as cluster_secret_file")
    return 0


def _ca(args: argparse.Namespace) -> int:
    pair = make_ca(args.name, _now(), args.days)
    certificate, key = write_pair(pair, args.out, CA_NAME)
    print(f"{certificate}: copy it to every node and name it there as cluster_ca")
    print(f"{key}: keep it where no node is; whoever has it can make nodes")
    return 0


def _node(args: argparse.Namespace) -> int:
    if os.path.basename(args.name) != args.name or args.name in {"", ".", "..", CA_NAME}:
        raise CertificateRefused(f"{args.name!r} is no name of a node")
    files = [os.path.join(args.ca, f"{CA_NAME}.{suffix}") for suffix in ("pem", "key")]
    pair = make_node_certificate(Pair(*map(_read, files)), args.name, args.host, _now(), args.days)
    certificate, key = write_pair(pair, args.out, args.name)
    print(f"{certificate}, {key}: copy them to node {args.name} alone and name them there as")
    print("cluster_certificate and cluster_key")
    return 0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CertificateRefused(f"{path}: {error.strerror}") from error


def write_pair(pair: Pair, directory: str, name: str) -> tuple[str, str]:
    """Write NAME.pem and NAME.key, both or none; their paths. Raises CertificateRefused."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    certificate, key = (os.path.join(directory, f"{name}.{suffix}") for suffix in ("pem", "key"))
    write_new(key, pair.key, PRIVATE_MODE)
    try:
        write_new(certificate, pair.certificate, PUBLIC_MODE)
    except CertificateRefused:
        os.unlink(key)
        raise
    return certificate, key


def write_new(path: str, data: bytes, mode: int) -> None:
    """A new synced file. Raises CertificateRefused where there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        raise CertificateRefused(f"{path} is not written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
