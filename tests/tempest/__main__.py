"""Run Tempest against a fresh `atoll up --cloud`, and hold the result against what may fail.

`make tempest` installs Tempest into `.venv-tempest` and calls this; arguments go to `tempest run`.
Tests in `expected.txt` (name, then the reason) may fail; any other failure, and any of these that
passes now, is an error.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.api.store import RunningStore, clean_environment, free_port, start_store

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ENVIRONMENT: Final = REPOSITORY / ".venv-tempest" / "bin"
EXPECTED: Final = Path(__file__).with_name("expected.txt")
PASSWORD: Final = "tempest-admin-password"
DEFAULT_TESTS: Final = r"^tempest\.api\.(identity|image|object_storage|volume)\."
LOCKOUT_ATTEMPTS: Final = 2
LOCKOUT_S: Final = 5
HISTORY: Final = 2
IMAGE_BYTES: Final = 1024 * 1024


class Images(NamedTuple):
    """web: the URL of a server of images. refs: ids of two that are in the add-on, for everyone."""

    web: str
    refs: tuple[str, str]


def configuration(cloud_port: int, store: RunningStore, images: Images) -> str:
    """tempest.conf for the services that there are."""
    url = f"http://127.0.0.1:{cloud_port}/identity"
    return f"""
[DEFAULT]
log_file = tempest.log
[auth]
use_dynamic_credentials = true
admin_username = admin
admin_password = {PASSWORD}
admin_project_name = admin
admin_domain_name = Default
tempest_roles = member
create_isolated_networks = false
[identity]
uri_v3 = {url}/v3
auth_version = v3
region = RegionOne
default_domain_id = default
user_lockout_failure_attempts = {LOCKOUT_ATTEMPTS}
user_lockout_duration = {LOCKOUT_S}
user_unique_last_password_count = {HISTORY}
[identity-feature-enabled]
api_v3 = true
trust = true
security_compliance = true
domain_specific_drivers = true
project_tags = true
application_credentials = true
access_rules = true
external_idp = false
[service_available]
cinder = true
glance = true
neutron = true
nova = false
swift = true
[compute]
image_ref = {images.refs[0]}
image_ref_alt = {images.refs[1]}
[object-storage]
operator_role = member
reseller_admin_role = ResellerAdmin
[object-storage-feature-enabled]
container_sync = false
[image]
http_image = {images.web}/raw
http_qcow2_image = {images.web}/qcow2
image_caching_enabled = true
disk_formats = raw,qcow2,ami,ari,aki,vhd,vhdx,vmdk,vdi,iso
container_formats = bare,ami,ari,aki,ovf,ova
[image-feature-enabled]
import_image = true
image_format_enforcement = true
http_store_enabled = false
[volume]
vendor_name = Atoll
storage_protocol = nbd
max_microversion = 3.71
build_interval = 1
build_timeout = 60
disk_format = raw
backend_names = ring,files
[volume-feature-enabled]
multi_backend = true
backup = true
snapshot = true
clone = true
manage_snapshot = true
manage_volume = true
volume_revert = true
extend_attached_volume = true
consistency_group = false
[oslo_concurrency]
lock_path = {store.folder}/locks
"""


def run(arguments: list[str], python: Path) -> int:
    """Tempest's whole run; its exit status."""
    with tempfile.TemporaryDirectory(prefix="atoll-tempest-") as folder:
        work = Path(folder)
        (work / "store").mkdir()
        port = free_port()
        with (
            start_store(
                work / "store",
                environment={"ATOLL_ADMIN_PASSWORD": PASSWORD},
                cloud=True,
                cloud_port=port,
                image_web_hosts=["127.0.0.1", "does-not.exist"],
                image_web_ports=[],
                image_stores=["default", "ec=ec-4-2"],
                volume_backends=["ring", "files"],
                identity_lockout_attempts=LOCKOUT_ATTEMPTS,
                identity_lockout_s=LOCKOUT_S,
                identity_password_history=HISTORY,
            ) as store,
            _images(work / "images") as web,
        ):
            images = Images(web, _prepared(f"http://127.0.0.1:{port}", web))
            return _tempest(arguments, python, work, configuration(port, store, images))


def _prepared(cloud: str, web: str) -> tuple[str, str]:
    """The ids of two public images, raw, of a disk that is not all zeroes.

    Tempest leaves out whole classes of volume tests where there are no networks, though most of their
    tests need none, and asks for security groups when it cleans up. So `network` is in the catalog,
    at a server that has nothing.
    """
    domain = {"id": "default"}
    user = {"name": "admin", "domain": domain, "password": PASSWORD}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": "admin", "domain": domain}},
    }
    identity, images = f"{cloud}/identity/v3", f"{cloud}/image/v2/images"
    headers, _ = _asked("POST", f"{identity}/auth/tokens", {"auth": auth})
    token = headers["X-Subject-Token"]

    def upload(name: str) -> str:
        fields = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
        _, made = _asked("POST", images, {"name": name, **fields}, token)
        _asked("PUT", f"{images}/{made['id']}/file", name.encode().ljust(IMAGE_BYTES, b"\1"), token)
        return str(made["id"])

    _, made = _asked("POST", f"{identity}/services", {"service": {"type": "network"}}, token)
    place = {"service_id": made["service"]["id"], "region_id": "RegionOne", "interface": "public"}
    _asked("POST", f"{identity}/endpoints", {"endpoint": {**place, "url": f"{web}/network"}}, token)
    return upload("tempest"), upload("tempest-alt")


def _asked(method: str, url: str, body: Any, token: str = "") -> tuple[Any, Any]:
    """A request that must succeed: headers and body of its answer. Bytes go as they are."""
    is_raw = isinstance(body, bytes)
    headers = {"Content-Type": "application/octet-stream" if is_raw else "application/json"}
    headers |= {"X-Auth-Token": token} if token else {}
    data = body if is_raw else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - our own URL
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        raw = answer.read()
        return answer.headers, json.loads(raw) if raw else None


@contextlib.contextmanager
def _images(folder: Path) -> Iterator[str]:
    """A server of two images, raw and QCOW2; its URL."""
    folder.mkdir()
    for kind in ("raw", "qcow2"):
        command = ["qemu-img", "create", "-q", "-f", kind, str(folder / kind), "4M"]
        subprocess.run(command, check=True)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes nothing about requests."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _tempest(arguments: list[str], python: Path, work: Path, config: str) -> int:
    environment = clean_environment()
    environment["PATH"] = f"{python}:{environment['PATH']}"
    workspace = work / "workspace"
    subprocess.run(
        [
            str(python / "tempest"),
            "init",
            str(workspace),
            "--workspace-path",
            f"{work}/workspaces.yaml",
        ],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (workspace / "etc" / "tempest.conf").write_text(config)
    command = [str(python / "tempest"), "run", "--workspace-path", f"{work}/workspaces.yaml"]
    status = subprocess.run([*command, *arguments], cwd=workspace, env=environment, check=False)
    listed = subprocess.run(
        [python / "stestr", "failing", "--list"],
        cwd=workspace,
        env=environment,
        capture_output=True,
        check=False,
    )
    lines = listed.stdout.decode().split()
    failed = {name.partition("[")[0] for name in lines if name.startswith(("tempest.", "setUpClass"))}
    return _judge(failed, status.returncode, filtered=bool(arguments))


def expected_failures() -> dict[str, str]:
    """Names of tests that may fail, with the reason."""
    lines = EXPECTED.read_text().splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: reason.strip() for name, _, reason in pairs}


def _judge(failed: set[str], status: int, *, filtered: bool) -> int:
    expected = expected_failures()
    surprises = failed - set(expected)
    better = set() if filtered else set(expected) - failed
    for name in sorted(surprises):
        print(f"failed, and should not: {name}")
    for name in sorted(better):
        print(f"passes now, remove it from {EXPECTED.name}: {name}")
    return 1 if surprises or better or (status and not failed) else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="where tempest is")
    known, arguments = parser.parse_known_args()
    os.environ.pop("OS_TEST_PATH", None)
    return run(arguments or ["--regex", DEFAULT_TESTS, "--concurrency", "2"], known.environment)


if __name__ == "__main__":
    sys.exit(main())
