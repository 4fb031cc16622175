"""`atoll up`: start the store of this node; Ctrl-C or SIGTERM drains and stops it, data stay."""

import argparse
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from typing import Any

from runtime.certificate import NodeCertificate, ServedCertificate
from runtime.config import Config, host_and_port, load
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from runtime.supervisor import Supervisor
from storage.node import NodeFacts
from tools import cloud

EXIT_STATUS = (
    "Exit status: 0 after SIGTERM or Ctrl-C, 1 with a reason on standard error, 2 wrong usage."
)


def add_parser(subparsers: Any) -> None:
    """Register `up`."""
    parser = subparsers.add_parser(
        "up", help="start the store on this machine", description=__doc__, epilog=EXIT_STATUS
    )
    parser.add_argument("--config", help="configuration file (doc/configuration.md)")
    parser.add_argument("--data", help="data directory (atoll-data)")
    parser.add_argument("--listen", help="address of the public port (127.0.0.1)")
    parser.add_argument("--port", type=int, help="public port (8080)")
    parser.add_argument("--admin-port", type=int, help="admin port, 0 for none (8081)")
    parser.add_argument("--workers", type=int, help="worker processes (one per core)")
    parser.add_argument("--devices", type=int, help="devices of a new store (6)")
    parser.add_argument("--cloud", action="store_true", help="also start the compute add-on")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    config = load(
        args.config,
        data=os.path.abspath(args.data) if args.data else None,
        listen=args.listen,
        port=args.port,
        admin_port=args.admin_port,
        workers=args.workers,
        devices=args.devices,
        cloud=args.cloud or None,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    _check_port(config.listen, config.port)
    if config.cloud:
        cloud.check_installed()
        _check_port(config.cloud_listen, config.cloud_port)
    if config.admin_port:
        _check_port(config.admin_listen, config.admin_port)
    if config.tls_certificate:
        ServedCertificate(config.tls_certificate, config.tls_key)  # said once, here, where it is wrong
    if config.cluster_ca:
        NodeCertificate(config.cluster_ca, config.cluster_certificate, config.cluster_key)
    # Imported before the fork, so that workers share it.
    from tools.data import prepare
    from tools.worker import owners, run_worker, worker_count

    data = prepare(config, SystemRandomness())
    workers = worker_count(config, data.ring)
    owned_by = owners(config, data.ring, workers)
    for number in range(workers if config.cluster_listen else 0):
        host, port = host_and_port(config.cluster_listen)
        _check_port(host, port + number)
    _raise_open_files()
    password = cloud.initialise(config, data.secret) if config.cloud else None

    def run_process(number: int, ready: Callable[[], None]) -> int:
        """The add-on's process comes after the store's workers."""
        if number == workers:
            return cloud.run_cloud(config, data.secret, ready)
        return run_worker(config, data, NodeFacts(config.node, number, workers, owned_by), ready)

    return Supervisor(
        workers + (1 if config.cloud else 0),
        run_process,
        lambda: _banner(
            config, data.credentials, workers, cloud.banner(config, password) if config.cloud else []
        ),
        lambda line: print(line, file=sys.stderr, flush=True),
        config.drain_s,
    ).main()


def _raise_open_files() -> None:
    """As many as the system allows: each connection is one, and many systems begin with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_port(host: str, port: int) -> None:
    """Workers share their port, so a stranger's use of it must be noticed before. Raises AtollError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AtollError(f"can't listen on {host} port {port}: {error.strerror}") from error


def _banner(config: Config, credentials: str, workers: int, of_cloud: list[str]) -> None:
    from tools.data import demo_user

    user = demo_user(credentials)
    lines = [
        f"Atoll serves S3 and Swift at {config.endpoint} "
        f"({workers} workers, fsync on, data in {config.data})"
    ]
    if config.admin_port:
        lines.append(f"how it is at http://{config.admin_listen}:{config.admin_port}")
    lines += of_cloud
    if user is not None:
        lines += [
            "",
            f"  access key   {user.access_key}",
            f"  secret key   {user.secret_key}",
            f"  Swift login  {user.swift_login} at {config.endpoint}/auth/v1.0",
            "               its password is the secret key",
            f"  (kept in {credentials})",
            "",
            "Try:",
            f"  export AWS_ACCESS_KEY_ID={user.access_key} AWS_SECRET_ACCESS_KEY={user.secret_key}",
            f"  export AWS_ENDPOINT_URL={config.endpoint} AWS_DEFAULT_REGION={config.region}",
            "  aws s3 mb s3://first && aws s3 cp README.md s3://first/ && aws s3 ls s3://first",
            "",
            "Ctrl-C stops it; data stay.",
        ]
    print("\n".join(lines), flush=True)
