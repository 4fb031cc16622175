"""`atoll status` and `atoll doctor` against real stores: healthy, broken, not there."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.cli.commands import Outcome, atoll
from tests.api.cli.test_https import write_pair
from tests.api.store import RunningStore, free_port, start_store


@pytest.fixture(scope="module")
def quiet_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store that served once and is stopped: what `doctor` looks at."""
    with start_store(tmp_path_factory.mktemp("quiet"), workers=1) as running:
        running.stop()
        yield running


def doctor(store: RunningStore, *arguments: object) -> Outcome:
    return atoll("doctor", "--config", store.config, "--json", *arguments)


def problems(outcome: Outcome) -> list[dict[str, Any]]:
    return [found for found in outcome.document["findings"] if found["level"] == "problem"]


# ---- status --------------------------------------------------------------------------------------


def test_a_healthy_store_says_so(store: RunningStore) -> None:
    said = atoll("status", "--admin-url", store.admin_url)
    assert said.status == 0, said.out + said.err
    assert f"{store.endpoint} serves: all 6 devices, all 2 workers" in said.out
    document = atoll("status", "--admin-url", store.admin_url, "--json").document
    assert (document["healthy"], document["level"]) == (True, "ok")
    assert document["facts"]["devices"]["serving"] == 6
    assert document["facts"]["processes"] == {"answered": 2, "silent": 0}


def test_a_stopped_worker_makes_it_unhealthy(tmp_path: Path) -> None:
    with start_store(tmp_path) as running:
        stopped = running.worker_pids()[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            said = atoll("status", "--admin-url", running.admin_url)
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert said.status == 1
        assert "3 of 6 known devices and 1 of 2 workers" in said.out
        assert "worker 1 does not answer" in said.out
        running.wait_for(lambda: atoll("status", "--admin-url", running.admin_url).status == 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{free}", "no store answers at"),
        ("127.0.0.1:8081", "is no admin port's URL"),
        ("{endpoint}", "not an Atoll admin port"),
    ],
)
def test_a_store_that_is_not_there_is_said_in_one_sentence(
    store: RunningStore, url: str, reason: str
) -> None:
    said = atoll("status", "--admin-url", url.format(free=free_port(), endpoint=store.endpoint))
    assert said.status == 1
    assert said.err.startswith("atoll status: ")
    assert reason in said.err
    assert "Traceback" not in said.err


# ---- doctor --------------------------------------------------------------------------------------


def test_a_store_that_is_well_has_no_problems(quiet_store: RunningStore) -> None:
    examined = doctor(quiet_store)
    assert problems(examined) == []
    assert examined.status == 0
    about = {found["about"] for found in examined.document["findings"]}
    assert {"config", "ring", "users", "device 5", "codecs", "sync", "clock", "port"} <= about


def test_nothing_is_changed(quiet_store: RunningStore) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in quiet_store.data.rglob("*.toml"))
    names = sorted(quiet_store.data.rglob("*"))
    doctor(quiet_store)
    assert sorted(quiet_store.data.rglob("*")) == names
    assert sorted((p, p.stat().st_mtime_ns) for p in quiet_store.data.rglob("*.toml")) == before


def test_a_running_store_uses_its_ports_itself(tmp_path: Path) -> None:
    with start_store(tmp_path, workers=1, devices=1) as running:
        assert problems(doctor(running)) == []


def test_secrets_that_others_may_read_are_found_and_left(quiet_store: RunningStore) -> None:
    for name in ("secret", "credentials.toml"):
        path = quiet_store.data / name
        path.chmod(0o644)
        try:
            examined = doctor(quiet_store)
            assert [found["text"] for found in problems(examined)] == [
                f"{path} has mode 0644: others may read it. `chmod 600 {path}`"
            ]
            assert examined.status == 1
            assert path.stat().st_mode & 0o777 == 0o644
        finally:
            path.chmod(0o600)


def test_a_damaged_ring_is_found(quiet_store: RunningStore) -> None:
    path = quiet_store.data / "ring"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    try:
        (found,) = problems(doctor(quiet_store))
    finally:
        path.write_bytes(whole)
    assert found["about"] == "ring"


def test_a_device_that_is_gone_or_anothers_is_found(quiet_store: RunningStore) -> None:
    devices = quiet_store.data / "devices"
    (devices / "d4").rename(devices / "away")
    try:
        (found,) = problems(doctor(quiet_store))
        assert found["about"] == "device 4"
        assert "is empty, but other devices hold data" in found["text"]
        (devices / "d5").rename(devices / "d4")
        assert {found["about"] for found in problems(doctor(quiet_store))} == {"device 4", "device 5"}
    finally:
        (devices / "d4").rename(devices / "d5")
        (devices / "away").rename(devices / "d4")


def test_a_reserve_that_the_disk_does_not_have_is_found(
    quiet_store: RunningStore, tmp_path: Path
) -> None:
    config = tmp_path / "atoll.toml"
    config.write_text(f"device_reserve_bytes = {2**50}\nport = {free_port()}\nadmin_port = 0\n")
    (found,) = problems(atoll("doctor", "--config", config, "--data", quiet_store.data, "--json"))
    assert found["about"] == "space"
    assert "device_reserve_bytes" in found["text"]


def test_a_wrong_configuration_is_found(quiet_store: RunningStore, tmp_path: Path) -> None:
    config = tmp_path / "atoll.toml"
    config.write_text("prot = 8080\n")
    (found,) = problems(atoll("doctor", "--config", config, "--json"))
    assert "unknown field `prot`" in found["text"]


@pytest.mark.parametrize(("days", "level"), [(30, "ok"), (5, "warning"), (0, "problem")])
def test_a_certificate_that_ends_is_found(tmp_path: Path, days: int, level: str) -> None:
    pair = write_pair(tmp_path, days)
    config = tmp_path / "atoll.toml"
    lines = [f'tls_certificate = "{pair.certificate}"', f'tls_key = "{pair.key}"']
    config.write_text("\n".join([*lines, f"port = {free_port()}", "admin_port = 0"]))
    examined = atoll("doctor", "--config", config, "--data", tmp_path / "data", "--json")
    found = [f for f in examined.document["findings"] if f["about"] == "certificate"]
    assert [f["level"] for f in found] == [level]
    assert examined.status == (1 if level == "problem" else 0)


def test_before_the_first_start_there_are_warnings_only(tmp_path: Path) -> None:
    config = tmp_path / "atoll.toml"
    config.write_text(f"port = {free_port()}\nadmin_port = 0\n")
    examined = atoll("doctor", "--config", config, "--data", tmp_path / "data")
    assert examined.status == 0
    assert "`atoll up` makes it" in examined.out
    assert not (tmp_path / "data").exists()
