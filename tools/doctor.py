"""`atoll doctor`: looks at everything that a store needs, running or not, and says what to do.

Exit status: 0 nothing is broken (there may be warnings), 1 something is, 2 wrong usage.
"""

import argparse
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from runtime.clock import SystemClock
from runtime.config import Config, load
from runtime.errors import AtollError, ConfigError
from tools.finding import Finding, documents, healthy, ok, print_findings, problem
from tools.health.health import Health


def add_parser(subparsers: Any) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the machine, the configuration and the data directory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--data", metavar="DIR", help="data directory (atoll-data)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Check, print."""
    findings = list(examine(args.config, os.path.abspath(args.data) if args.data else None))
    if args.json:
        print(json.dumps({"healthy": healthy(findings), "findings": documents(findings)}, indent=2))
    else:
        print_findings(findings)
    return 0 if healthy(findings) else 1


def examine(config_path: str | None, data: str | None) -> Iterator[Finding]:
    """All findings, in the order in which a fault explains those after it."""
    from tools.checks import check_libraries, check_open_files, check_python

    yield from check_python()
    yield from check_libraries()
    yield from check_open_files()
    try:
        config = load(config_path, data=data)
    except ConfigError as error:
        yield problem("config", f"{error}. doc/configuration.md has all keys")
        return
    yield ok("config", f"{config_path} can be read" if config_path else "the defaults, no file")
    yield from _examine_store(config)


def _examine_store(config: Config) -> Iterator[Finding]:
    from tools import checks, cluster_checks, disk_errors
    from tools.peers import is_own

    now = datetime.fromtimestamp(SystemClock().now_ns() / 1e9, UTC)
    yield from checks.check_data(config)
    yield from checks.check_users(config)
    ring, findings = checks.check_ring(config)
    yield from findings
    own = [member for member in ring.members if is_own(config, member)] if ring else []
    if ring is not None:
        yield from cluster_checks.check_spread(ring)
        yield from checks.check_devices(ring, own)
    yield from checks.check_codecs(ring)
    paths = [member.path for member in own] or config.device_paths
    yield from checks.check_disks([config.data, *paths], config.device_reserve_bytes)
    yield from disk_errors.check_disk_errors([config.data, *paths])
    yield from disk_errors.check_quarantine(paths)
    yield from checks.check_clock(config.data, now)
    health = _health(config)
    running = health is not None and health.facts.get("endpoint") == config.endpoint
    yield from checks.check_port("port", config.listen, config.port, running=running)
    if config.admin_port:
        yield from checks.check_port(
            "admin port", config.admin_listen, config.admin_port, running=running
        )
    yield from checks.check_certificate(config, now)
    yield from cluster_checks.check_cluster_files(config, now)
    if running and health is not None:
        yield from cluster_checks.check_health(health)


def _health(config: Config) -> Health | None:
    """What the store that answers on this configuration's admin port says; None where none does."""
    from tools.status import admin_url, ask

    if not config.admin_port:
        return None
    try:
        return ask(admin_url(config))
    except AtollError:
        return None
