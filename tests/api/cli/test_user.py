"""`atoll user`: keys are printed once, kept closed, never arguments; a running store follows."""

import contextlib
import http.client
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.cli.commands import COMMAND_DEADLINE_S, atoll
from tests.api.store import REPOSITORY, RunningStore, clean_environment


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


def test_a_new_user_gets_keys_that_are_printed_once(data: Path) -> None:
    added = atoll("user", "add", "ann", "--data", data, "--json")
    assert added.status == 0, added.err
    secret = added.document["secret_key"]
    assert len(secret) == 40
    listed = atoll("user", "list", "--data", data, "--json")
    assert [user["name"] for user in listed.document] == ["ann"]
    assert listed.document[0]["access_key"] == added.document["access_key"]
    assert secret not in listed.out + atoll("user", "list", "--data", data).out


def test_the_user_file_is_closed_to_others_and_keeps_the_keys(data: Path) -> None:
    added = atoll("user", "add", "ann", "--data", data)
    path = data / "credentials.toml"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    secret = next(line.split()[-1] for line in added.out.splitlines() if "secret key  " in line)
    assert secret in path.read_text()


def test_keys_come_from_the_environment_when_asked_for(data: Path) -> None:
    keys = {"ATOLL_ACCESS_KEY": "ANNKEY", "ATOLL_SECRET_KEY": "a-secret-of-ann"}
    added = atoll("user", "add", "ann", "--data", data, "--keys", "env", "--json", **keys)
    assert added.document["access_key"] == "ANNKEY"
    assert added.document["secret_key"] == "a-secret-of-ann"
    # and only then: the keys that `atoll up` would give the demo user are not another user's
    other = atoll("user", "add", "bob", "--data", data, "--json", **keys)
    assert other.document["access_key"] != "ANNKEY"


def test_keys_are_no_arguments(data: Path) -> None:
    for argument in ("--secret-key", "--access-key"):
        refused = atoll("user", "add", "ann", "--data", data, argument, "x")
        assert refused.status == 2
    assert not (data / "credentials.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "bad name"), "the name is empty or has a character"),
        (("add", "ann", "--account", "x/y"), "the account is empty or has a character"),
        (("add", "ann", "--keys", "env"), "ATOLL_ACCESS_KEY is not set"),
        (("add", "ann", "--keys", "prompt"), "needs a terminal"),
        (("remove", "nobody"), "there is no user 'nobody'"),
    ],
)
def test_refusals_are_one_sentence_and_change_nothing(
    data: Path, arguments: tuple[str, ...], reason: str
) -> None:
    refused = atoll("user", *arguments, "--data", data)
    assert refused.status == 1
    assert refused.err.startswith("atoll user: ")
    assert reason in refused.err
    assert "Traceback" not in refused.err
    assert os.listdir(data) == []


def test_a_name_is_given_once(data: Path) -> None:
    atoll("user", "add", "ann", "--data", data)
    before = (data / "credentials.toml").read_bytes()
    refused = atoll("user", "add", "ann", "--data", data)
    assert (refused.status, "exists already" in refused.err) == (1, True)
    assert (data / "credentials.toml").read_bytes() == before


def test_there_is_no_user_without_a_data_directory(tmp_path: Path) -> None:
    refused = atoll("user", "add", "ann", "--data", tmp_path / "nowhere")
    assert refused.status == 1
    assert "there is no data directory" in refused.err
    assert not (tmp_path / "nowhere").exists()


def test_a_broken_user_file_is_named_and_not_quoted(data: Path) -> None:
    (data / "credentials.toml").write_text('secret_key = "very-secret\n')
    refused = atoll("user", "list", "--data", data)
    assert refused.status == 1
    assert "credentials.toml is not usable" in refused.err
    assert "very-secret" not in refused.err


def _login_status(store: RunningStore, login: str, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=30)
    with contextlib.closing(connection):
        headers = {"X-Auth-User": login, "X-Auth-Key": key}
        connection.request("GET", "/auth/v1.0", headers=headers)
        return connection.getresponse().status


def _wait_for_logins(store: RunningStore, login: str, key: str, status: int) -> None:
    """Any worker may answer, and each looks at the file once a second: wait for several in a row."""
    store.wait_for(lambda: all(_login_status(store, login, key) == status for _ in range(8)))


def test_a_running_store_follows_the_user_file(store: RunningStore) -> None:
    added = atoll("user", "add", "eve", "--data", store.data, "--json").document
    _wait_for_logins(store, "eve:eve", added["secret_key"], 200)
    assert atoll("user", "remove", "eve", "--data", store.data).status == 0
    _wait_for_logins(store, "eve:eve", added["secret_key"], 401)


def _read_until(terminal: int, words: bytes) -> bytes:
    shown = b""
    while words not in shown:
        shown += os.read(terminal, 1000)
    return shown


def test_keys_are_asked_for_on_a_terminal_without_showing_the_secret(data: Path) -> None:
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "tools.main", "user", "add", "ann", "--keys", "prompt", "--json"]
    asked = subprocess.Popen(
        [*command, "--data", str(data)],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    try:
        _read_until(terminal, b"access key (empty: a new one): ")
        os.write(terminal, b"ANNKEY\n")
        _read_until(terminal, b"secret key (empty: a new one): ")
        os.write(terminal, b"asked-secret\n")
        out, _ = asked.communicate(timeout=COMMAND_DEADLINE_S)
        assert b"asked-secret" not in _drained(terminal)
    finally:
        asked.kill()
        os.close(terminal)
    user = json.loads(out)
    assert (user["access_key"], user["secret_key"]) == ("ANNKEY", "asked-secret")


def _drained(terminal: int) -> bytes:
    """What is still to be read of a terminal whose other end is closed (read(2): EIO at its end)."""
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 1000):
            shown += piece
    return shown
