"""The store behind a real Keystone from PyPI, in an environment of its own: `make keystone`.

Proves that nothing in `proxy/auth/keystone.py` knows our own identity service: the same requests, the
same answers, also while Keystone is away.
"""

import argparse
import contextlib
import grp
import http.client
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.api.store import free_port, start_store

ENVIRONMENT: Final = Path(__file__).resolve().parents[2] / ".venv-keystone" / "bin"
PASSWORD: Final = "the store's own"
START_DEADLINE_S: Final = 60.0


def configure(folder: Path, programs: Path, port: int) -> Path:
    """A bootstrapped Keystone on SQLite; its configuration file."""
    config = folder / "keystone.conf"
    config.write_text(
        f"[DEFAULT]\nlog_file = {folder}/keystone.log\n"
        f"[database]\nconnection = sqlite:///{folder}/keystone.db\n"
        f"[fernet_tokens]\nkey_repository = {folder}/fernet\n"
        f"[credential]\nkey_repository = {folder}/credential\n"
    )
    for name in ("fernet", "credential"):
        (folder / name).mkdir(mode=0o700)
    url = f"http://127.0.0.1:{port}/v3"
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    owner = ["--keystone-user", user, "--keystone-group", group]
    for words in (
        ["db_sync"],
        ["fernet_setup", *owner],
        ["credential_setup", *owner],
        ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-public-url", url],
    ):
        command = [str(programs / "keystone-manage"), "--config-file", str(config), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return config


@contextlib.contextmanager
def serving(config: Path, programs: Path, port: int) -> Iterator[None]:
    """The Keystone, answering."""
    server = Path(__file__).with_name("server.py")
    with (config.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(programs / "python"), str(server), str(config), str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            with contextlib.suppress(OSError):
                if ask(port, "GET", "/v3")[0] == 200:
                    break
            assert process.poll() is None, (config.parent / "server.log").read_text()
            assert time.monotonic() < deadline, "Keystone did not start"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def ask(port: int, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any, str]:
    """Status, JSON and X-Subject-Token of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        headers = {"X-Auth-Token": token} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        raw = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return (
            answer.status,
            json.loads(raw) if raw and is_json else raw,
            answer.getheader("X-Subject-Token", ""),
        )


def log_in(port: int, user: str, project: str) -> tuple[str, dict[str, Any]]:
    """A token and its body."""
    domain = {"name": "Default"}
    named = {"name": user, "domain": domain, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": named}}
    scope = {"project": {"name": project, "domain": domain}}
    status, body, token = ask(
        port, "POST", "/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}}
    )
    assert status == 201, body
    return token, body["token"]


def make_service_user(port: int, token: str) -> None:
    """The store's user, as doc/compatibility/identity.md asks for it."""
    made = {}
    for noun, fields in (
        ("project", {"name": "service"}),
        ("user", {"name": "atoll", "password": PASSWORD, "domain_id": "default"}),
    ):
        status, body, _ = ask(port, "POST", f"/v3/{noun}s", {noun: fields}, token)
        assert status == 201, body
        made[noun] = body[noun]["id"]
    roles = ask(port, "GET", "/v3/roles?name=service", None, token)[1]["roles"]
    where = f"/v3/projects/{made['project']}/users/{made['user']}/roles/{roles[0]['id']}"
    assert ask(port, "PUT", where, None, token)[0] == 204


def run(programs: Path) -> None:
    """All of it; AssertionError where something is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="atoll-keystone-") as name:
        folder, port = Path(name), free_port()
        config = configure(folder, programs, port)
        (folder / "store").mkdir()
        (folder / "password").write_text(PASSWORD)
        options = {
            "keystone_url": f"http://127.0.0.1:{port}/v3",
            "keystone_password_file": str(folder / "password"),
        }
        with contextlib.ExitStack() as keystone:
            keystone.enter_context(serving(config, programs, port))
            token, body = log_in(port, "admin", "admin")
            make_service_user(port, token)
            account = f"/v1/AUTH_{body['project']['id']}"
            with start_store(folder / "store", workers=1, **options) as store:  # type: ignore[arg-type]

                def status(method: str, path: str, own: str = token) -> int:
                    return ask(store.port, method, path, None, own)[0]

                assert status("PUT", f"{account}/box") == 201
                assert status("GET", account) == 200
                assert status("GET", "/v1/AUTH_demo") == 403
                assert status("GET", account, "nonsense") == 401
                keystone.close()
                assert status("GET", account) == 200  # who is known goes on
                assert status("GET", account, "never seen") == 503


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="where Keystone is")
    run(parser.parse_args().environment)
    print("the store takes the tokens of a real Keystone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
