"""`atoll up`: what it prints, what it refuses, how it stops."""

import http.client
import os
import re
import signal
import socket
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.api.cli.commands import Outcome, atoll
from tests.api.store import RunningStore, clean_environment, free_port, start_store

KEYS = {"ATOLL_ACCESS_KEY": "DEMOKEY", "ATOLL_SECRET_KEY": "a-secret-for-the-demo"}


def client(store: RunningStore, secret_key: str = "") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=secret_key or store.secret_key,
        region_name="us-east-1",
    )


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RunningStore]:
    """A store that the test may stop."""
    with start_store(tmp_path, environment=KEYS) as running:
        yield running


# ---- what it prints and keeps --------------------------------------------------------------------


def test_the_banner_says_where_and_with_which_keys(store: RunningStore) -> None:
    (user,) = tomllib.loads((store.data / "credentials.toml").read_text())["user"]
    assert (store.access_key, store.secret_key) == (user["access_key"], user["secret_key"])
    assert user["name"] == "demo"
    assert store.endpoint in store.banner
    assert store.admin_url in store.banner
    assert "fsync on" in store.banner
    assert "demo:demo" in store.banner
    assert store.exports() == {
        "AWS_ACCESS_KEY_ID": user["access_key"],
        "AWS_SECRET_ACCESS_KEY": user["secret_key"],
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_secrets_are_closed_to_others(store: RunningStore) -> None:
    modes = {
        name: stat.S_IMODE(os.stat(store.data / name).st_mode)
        for name in ("", "run", "secret", "credentials.toml")
    }
    assert modes == {"": 0o700, "run": 0o700, "secret": 0o600, "credentials.toml": 0o600}


def test_keys_come_from_the_environment_and_are_in_no_process_list(own_store: RunningStore) -> None:
    assert (own_store.access_key, own_store.secret_key) == tuple(KEYS.values())
    for pid in (own_store.pid, *own_store.worker_pids()):
        assert KEYS["ATOLL_SECRET_KEY"].encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_wrong_signature_puts_no_secret_into_the_log(own_store: RunningStore) -> None:
    with pytest.raises(ClientError) as refused:
        client(own_store, "another-secret").list_buckets()
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert "another-secret" not in str(refused.value)
    own_store.stop()
    log = own_store.banner.partition("Ctrl-C stops it")[2]
    assert KEYS["ATOLL_SECRET_KEY"] not in log


# ---- what it refuses -----------------------------------------------------------------------------


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = atoll("up", "--data", tmp_path / "data", "--port", port)
        admin = atoll("up", "--data", tmp_path / "data", "--port", free_port(), "--admin-port", port)
    for outcome in (refused, admin):
        assert outcome.status == 1
        assert f"can't listen on 127.0.0.1 port {port}: Address already in use" in outcome.err
        assert "Traceback" not in outcome.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prot = 8080\n", "unknown field `prot`"),
        ('port = "8080"\n', "Expected `int`, got `str` - at `$.port`"),
        ("port = 70000\n", "port is 70000"),
        ("devices = 0\n", "devices is 0"),
        ('tls_certificate = "a.pem"\n', "tls_certificate and tls_key go together"),
        ("port = \n", "Invalid value"),
    ],
)
def test_a_wrong_configuration_is_refused_by_file_and_key(
    tmp_path: Path, text: str, reason: str
) -> None:
    config = tmp_path / "atoll.toml"
    config.write_text(text)
    refused = atoll("up", "--config", config, "--data", tmp_path / "data", "--port", free_port())
    assert refused.status == 1
    assert str(config) in refused.err
    assert reason in refused.err
    assert not (tmp_path / "data").exists()


def test_wrong_usage_exits_with_two() -> None:
    assert atoll("up", "--nonsense").status == 2
    assert atoll("nonsense").status == 2
    assert atoll().status == 2


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = tmp_path / "atoll.toml"
    config.write_text('tls_certificate = "no.pem"\ntls_key = "no.key"\nadmin_port = 0\n')
    refused = atoll("up", "--config", config, "--data", tmp_path / "data", "--port", free_port())
    assert refused.status == 1
    assert "no.pem" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def _up(data: Path, **environment: str) -> Outcome:
    return atoll("up", "--data", data, "--port", free_port(), "--admin-port", 0, **environment)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("credentials.toml", 'x = "', "credentials.toml is not usable: it is not TOML"),
        ("secret", "not hex", "secret is not a cluster secret of hex digits"),
        ("secret", "00" * 8, "secret has fewer than 32 bytes"),
        ("ring", "not a ring", "the file is not a ring"),
    ],
)
def test_a_damaged_data_directory_is_refused_and_left(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (tmp_path / name).write_text(text)
    refused = _up(tmp_path)
    assert refused.status == 1
    assert reason in refused.err
    assert "Traceback" not in refused.err
    assert (tmp_path / name).read_text() == text


def test_keys_that_cannot_be_used_are_refused_and_not_quoted(tmp_path: Path) -> None:
    refused = _up(tmp_path / "data", ATOLL_SECRET_KEY="not\nusable")
    assert refused.status == 1
    assert "the secret key is empty or has a character" in refused.err
    assert "usable" not in refused.err


def test_a_second_store_on_the_same_data_is_refused(own_store: RunningStore) -> None:
    arguments = ("--data", own_store.data, "--port", free_port(), "--admin-port", 0)
    refused = atoll("up", *arguments)
    assert refused.status == 1
    # Whichever of its processes is first: the devices' or the keeper's.
    assert re.search(r"in use by another process|another process has the keeper's file", refused.err)
    assert "Traceback" not in refused.err
    assert own_store.serves()
    assert len(own_store.worker_pids()) == 2


# ---- how it lives and stops ----------------------------------------------------------------------


def test_data_stay_over_a_restart_and_over_a_kill(own_store: RunningStore) -> None:
    s3 = client(own_store)
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="first", Body=b"1")
    own_store.stop()
    own_store.restart()
    s3.put_object(Bucket="kept", Key="second", Body=b"2")
    own_store.kill()
    own_store.restart()
    found = s3.list_objects_v2(Bucket="kept")["Contents"]
    assert [entry["Key"] for entry in found] == ["first", "second"]


def test_a_killed_worker_is_started_again(own_store: RunningStore) -> None:
    first = own_store.worker_pids()
    os.kill(first[1], signal.SIGKILL)
    own_store.wait_for(lambda: _two_new(own_store, first))
    assert "worker 1 ended with signal 9; starting it again" in own_store.banner


def test_workers_end_with_a_supervisor_that_was_killed(own_store: RunningStore) -> None:
    workers = own_store.worker_pids()
    own_store.signal(signal.SIGKILL)
    own_store.wait_for(lambda: not any(own_store.lives(pid) for pid in workers))
    assert "failed" not in own_store.banner
    assert "ERROR" not in own_store.banner


def _two_new(store: RunningStore, before: list[int]) -> bool:
    now = store.worker_pids()
    return len(now) == 2 and now[0] == before[0] and now[1] != before[1]


def _begin_put(store: RunningStore, total: int) -> tuple[http.client.HTTPConnection, str]:
    """A Swift upload whose body has not been sent; its connection and token."""
    connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=30)
    login = {"X-Auth-User": "demo:demo", "X-Auth-Key": store.secret_key}
    connection.request("GET", "/auth/v1.0", headers=login)
    answer = connection.getresponse()
    answer.read()
    token = answer.headers["X-Auth-Token"]
    connection.request("PUT", "/v1/AUTH_demo/slow", headers={"X-Auth-Token": token})
    connection.getresponse().read()
    connection.putrequest("PUT", "/v1/AUTH_demo/slow/object")
    connection.putheader("X-Auth-Token", token)
    connection.putheader("Content-Length", str(total))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"  # it is being handled
    return connection, token


def test_a_request_under_way_is_finished_and_idle_connections_hold_nothing(
    own_store: RunningStore,
) -> None:
    connection, token = _begin_put(own_store, total=100_000)
    connection.send(bytes(50_000))
    idle = http.client.HTTPConnection("127.0.0.1", own_store.port, timeout=30)
    idle.request("GET", "/healthcheck")
    idle.getresponse().read()
    own_store.signal(signal.SIGTERM)
    own_store.wait_for(lambda: not own_store.serves())
    assert idle.sock.recv(1) == b""
    idle.close()
    connection.send(bytes(50_000))
    assert connection.getresponse().status == 201
    connection.close()
    own_store.stop()

    own_store.restart()
    again = http.client.HTTPConnection("127.0.0.1", own_store.port, timeout=30)
    again.request("HEAD", "/v1/AUTH_demo/slow/object", headers={"X-Auth-Token": token})
    assert again.getresponse().headers["Content-Length"] == "100000"
    again.close()


def test_the_smallest_store_serves(tmp_path: Path) -> None:
    with start_store(tmp_path, workers=1, devices=1) as running:
        s3 = client(running)
        s3.create_bucket(Bucket="one")
        s3.put_object(Bucket="one", Key="a", Body=b"alone")
        assert s3.get_object(Bucket="one", Key="a")["Body"].read() == b"alone"


def test_ctrl_c_stops_it_as_sigterm_does(tmp_path: Path) -> None:
    with start_store(tmp_path, workers=1, devices=1) as running:
        running.signal(signal.SIGINT)
        running.stop()


def test_clients_environment_has_nothing_of_ours() -> None:
    assert not [name for name in clean_environment() if name.startswith(("ATOLL_", "AWS_"))]
