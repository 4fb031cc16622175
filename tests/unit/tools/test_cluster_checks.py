"""The doctor's look at a node's part in its cluster."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ring.lookup import Ring
from runtime.config import Config
from runtime.node_certificates import make_ca, make_node_certificate
from tests.unit.health.clusters import Cluster, ring_of
from tools.cluster_checks import check_cluster_files, check_health, check_spread
from tools.finding import Finding, Level
from tools.health.judge import judge

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {found.about: found.level for found in findings}


def node_config(folder: Path, *, tls: bool = True, mode: int = 0o600) -> Config:
    secret = folder / "secret"
    secret.touch()
    secret.chmod(mode)
    files = {}
    if tls:
        files = {
            "cluster_ca": str(folder / "ca.pem"),
            "cluster_certificate": str(folder / "n0.pem"),
            "cluster_key": str(folder / "n0.key"),
        }
    return Config(
        cluster_listen="127.0.0.1:7000",
        keepers=["127.0.0.1:7000"],
        cluster_secret_file=str(secret),
        **files,  # type: ignore[arg-type]
    )


def write_certificates(folder: Path, days: int) -> None:
    ca = make_ca("test", NOW)
    node = make_node_certificate(ca, "n0", ["127.0.0.1"], NOW, days)
    (folder / "ca.pem").write_bytes(ca.certificate)
    (folder / "n0.pem").write_bytes(node.certificate)


def test_a_store_by_itself_has_none(tmp_path: Path) -> None:
    assert list(check_cluster_files(Config(), NOW)) == []


@pytest.mark.parametrize(
    ("later_days", "level"), [(0, Level.OK), (90, Level.WARNING), (101, Level.PROBLEM)]
)
def test_a_certificate_that_ends(tmp_path: Path, later_days: int, level: Level) -> None:
    write_certificates(tmp_path, 100)
    found = list(check_cluster_files(node_config(tmp_path), NOW + timedelta(days=later_days)))
    assert levels(found) == {"secret": Level.OK, "cluster CA": Level.OK, "node cert": level}


def test_files_that_are_open_missing_or_broken(tmp_path: Path) -> None:
    config = node_config(tmp_path, mode=0o644)
    (tmp_path / "ca.pem").write_text("nonsense")
    found = levels(list(check_cluster_files(config, NOW)))
    assert found == dict.fromkeys(("secret", "cluster CA", "node cert"), Level.PROBLEM)
    (tmp_path / "secret").unlink()
    assert levels(list(check_cluster_files(config, NOW)))["secret"] is Level.PROBLEM


def test_without_tls_one_is_told(tmp_path: Path) -> None:
    found = levels(list(check_cluster_files(node_config(tmp_path, tls=False), NOW)))
    assert found == {"secret": Level.OK, "cluster tls": Level.WARNING}


@pytest.mark.parametrize(
    ("ring", "warned"),
    [(ring_of("abcd"), 0), (ring_of("abc"), 0), (ring_of("ab"), 2), (ring_of("a"), 0)],
    ids=["four", "three", "two", "alone"],
)
def test_too_few_nodes_for_the_copies(ring: Ring, warned: int) -> None:
    found = list(check_spread(ring))
    assert [one.level for one in found if one.about == "spread"] == [Level.WARNING] * warned
    balance = [one.text for one in found if one.about == "balance"]
    assert len(balance) == len(ring.placements)
    assert balance[0].startswith("rows: the device furthest from its share by weight is ")


def test_what_the_running_cluster_finds_bad_is_repeated() -> None:
    def found(cluster: Cluster) -> list[Finding]:
        return list(check_health(judge(cluster.report, cluster.ring, UTC)))

    (well,) = found(Cluster())
    assert well.text == "it runs and says of itself: all 640 objects at full copies"
    bad = found(Cluster().down("b"))
    assert Level.OK not in {one.level for one in bad}
    assert "node b" in {one.about for one in bad}
