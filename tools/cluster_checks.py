"""What `atoll doctor` looks at in a cluster: the node's certificate, the secret, the running whole."""

import os
import stat
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from cryptography import x509

from ring.lookup import Ring
from ring.types import ROWS
from ring.verify import verify
from runtime.config import Config
from tools.finding import Finding, Level, ok, problem, warning
from tools.health import words
from tools.health.health import Health
from tools.lifetime import check_lifetime

SECRET_MODE_MASK: Final = 0o077
TIERS: Final = {"zone": "zones", "node": "nodes"}


def check_cluster_files(config: Config, now: datetime) -> Iterator[Finding]:
    """The files that let this node into its cluster."""
    if not config.cluster_listen:
        return
    yield _secret(config.cluster_secret_file)
    if not config.cluster_ca:
        yield warning(
            "cluster tls",
            "nodes talk without TLS: fine on a network that nobody else is on; else make certificates "
            "with `atoll node certificate`",
        )
        return
    for about, path in (("cluster CA", config.cluster_ca), ("node cert", config.cluster_certificate)):
        try:
            with open(path, "rb") as file:
                certificate = x509.load_pem_x509_certificate(file.read())
        except (OSError, ValueError) as error:
            yield problem(about, f"{path}: {error}; `atoll node certificate` makes a new one")
            continue
        yield check_lifetime(about, certificate, now, "`atoll node certificate` makes a new one")


def _secret(path: str) -> Finding:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        return problem("secret", f"{path}: {error.strerror}; copy it from another node")
    if mode & SECRET_MODE_MASK:
        return problem("secret", f"{path} has mode {mode:04o}: others may read it. `chmod 600 {path}`")
    return ok("secret", f"{path} is closed to others (mode {mode:04o})")


def check_spread(ring: Ring) -> Iterator[Finding]:
    """What the loss of one disk, node or zone means; and how even the ring is."""
    measures = verify(ring).measures
    for placement in ring.placements:
        found = measures.get(placement.name)
        if found is not None:
            yield ok(
                "balance",
                f"{placement.name}: the device furthest from its share by weight is "
                f"{found.worst:.1f} partition-replicas off ({100 * found.worst_ratio:.1f} %)",
            )
    replicas = ring.placement(ROWS).replicas
    for tier, plural in TIERS.items():
        there = len({(m.region, m.zone, m.node if tier == "node" else "") for m in ring.members})
        if len({member.node for member in ring.members}) > 1 and there < replicas:
            yield warning(
                "spread",
                f"there are {words.counted(there, tier, plural)} for {replicas} copies: the loss of "
                f"one takes more than one copy of some rows along. Add {plural}",
            )


def check_health(health: Health) -> Iterator[Finding]:
    """What the running store says of the whole cluster, but for what is well: peers, clocks, releases,
    keepers, devices, copies. `atoll status` tells the rest."""
    bad = [finding for finding in health.findings if finding.level is not Level.OK]
    yield from bad
    if not bad:
        yield ok("cluster", f"it runs and says of itself: {health.findings[0].text}")
