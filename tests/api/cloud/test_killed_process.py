"""The add-on's process is killed while volumes, snapshots and backups are being made, and starts again.

The supervisor sees it die, or the whole store dies with it. Nothing stays under way, what was answered
is there, and when all is deleted the object store holds nothing of it.
"""

import json
import os
import random
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.store import POLL_S, RunningStore, free_port, start_store

PASSWORD: Final = "a password for this test"
MIB: Final = 1024 * 1024
DATA: Final = random.Random(1).randbytes(12 * MIB)
MOMENTS_S: Final = (0.0, 0.5)
"""After the requests, until the process is killed."""
SETTLED_WITHIN_S: Final = 120.0
FINAL: Final = frozenset({"available", "error", "error_restoring", "error_extending", "error_deleting"})
NOUNS: Final = ("volumes", "snapshots", "backups")
Body = dict[str, Any]


class Cloud:
    """Requests as the administrator."""

    def __init__(self, store: RunningStore, port: int) -> None:
        self.store = store
        self.url = f"http://127.0.0.1:{port}"
        self.token = ""

    def log_in(self) -> None:
        """A token, and where the volumes' objects are."""
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        project = {"name": "admin", "domain": {"id": "default"}}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
        headers, said = self._sent(
            "POST", "/identity/v3/auth/tokens", {"auth": auth}, "application/json"
        )
        self.token = headers["X-Subject-Token"]
        self.project = json.loads(said)["token"]["project"]["id"]

    def ask(self, method: str, url: str, body: Any = None, kind: str = "application/json") -> Any:
        """The answer's body. Raises HTTPError."""
        said = self._sent(method, url, body, kind)[1]
        return json.loads(said) if said[:1] in (b"{", b"[") else said

    def _sent(self, method: str, url: str, body: Any, kind: str) -> tuple[Mapping[str, str], bytes]:
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"X-Auth-Token": self.token, "Content-Type": kind}
        headers["OpenStack-API-Version"] = "volume 3.71"
        where = url if url.startswith("http") else f"{self.url}{url}"
        request = urllib.request.Request(where, raw, headers, method=method)  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.headers, answer.read()

    def volume(self, method: str, path: str, body: Any = None) -> Any:
        """One request to volumes."""
        return self.ask(method, f"/volume/v3{path}", body)

    def make(self, noun: str, **fields: Any) -> str:
        """Ask for one; its id."""
        key = noun.removesuffix("s")
        return str(self.volume("POST", f"/{noun}", {key: fields})[key]["id"])

    def image(self, data: bytes, disk_format: str) -> str:
        """An image of these bytes."""
        fields = {"disk_format": disk_format, "container_format": "bare"}
        ident = str(self.ask("POST", "/image/v2/images", fields)["id"])
        self.ask("PUT", f"/image/v2/images/{ident}/file", data, "application/octet-stream")
        return ident

    def statuses(self) -> dict[str, str]:
        """Of all that there is."""
        return {
            f"{noun} {row['id']}": row["status"]
            for noun in NOUNS
            for row in self.volume("GET", f"/{noun}/detail")[noun]
        }

    def settled(self) -> dict[str, str]:
        """The statuses when nothing is under way any more."""
        found: dict[str, str] = {}
        until = time.monotonic() + SETTLED_WITHIN_S
        while time.monotonic() < until:
            try:
                found = self.statuses()
            except (urllib.error.HTTPError, OSError):  # it is starting
                time.sleep(POLL_S)
                continue
            if FINAL.issuperset(found.values()):
                return found
            time.sleep(POLL_S)
        raise AssertionError(f"still under way: {found}")

    def process(self) -> int:
        """The add-on's: the supervisor's child that is no worker."""
        workers = set(self.store.worker_pids())
        children = Path(f"/proc/{self.store.pid}/task/{self.store.pid}/children").read_text()
        (found,) = {int(pid) for pid in children.split()} - workers
        return found

    def objects(self) -> list[str]:
        """Names of what volumes and backups have in the service's account."""
        projects = self.ask("GET", "/identity/v3/projects?name=service")["projects"]
        account = f"{self.store.endpoint}/v1/AUTH_{projects[0]['id']}"
        found = []
        for row in self.ask("GET", f"{account}?format=json"):
            if row["name"] == "volumes" or row["name"].startswith("backups-"):
                found += self.ask("GET", f"{account}/{row['name']}?format=json")
        return [row["name"] for row in found]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A store with the add-on, whose administrator may look into the service's account."""
    port = free_port()
    environment = {"ATOLL_ADMIN_PASSWORD": PASSWORD}
    folder = tmp_path_factory.mktemp("killed")
    with start_store(folder, environment=environment, cloud=True, cloud_port=port) as store:
        made = Cloud(store, port)
        made.log_in()
        (role,) = made.ask("GET", "/identity/v3/roles?name=ResellerAdmin")["roles"]
        (user,) = made.ask("GET", "/identity/v3/users?name=admin")["users"]
        grant = f"/identity/v3/projects/{made.project}/users/{user['id']}/roles/{role['id']}"
        made.ask("PUT", grant)
        made.log_in()
        yield made


@pytest.fixture(scope="module")
def images(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """The same bytes as a raw image, which volumes stand on, and as one that is converted."""
    raw, other = (tmp_path_factory.mktemp("images") / name for name in ("raw", "qcow2"))
    raw.write_bytes(DATA)
    words = ("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(other))
    subprocess.run(words, check=True)
    return cloud.image(DATA, "raw"), cloud.image(other.read_bytes(), "qcow2")


def begin(cloud: Cloud, images: Sequence[str], source: str) -> list[str]:
    """Ask for some of everything; the ids of volumes that are to hold the image's bytes."""
    raw, other = images
    made = [
        cloud.make("volumes", size=1, imageRef=raw),
        cloud.make("volumes", size=1, imageRef=other),
        cloud.make("volumes", size=1, source_volid=source),
    ]
    cloud.make("snapshots", volume_id=source)
    cloud.make("backups", volume_id=source)
    return made


def the_bytes(cloud: Cloud, volume: str, folder: Path) -> bytes:
    """What a volume holds, over NBD."""
    fields = {"volume_uuid": volume, "instance_uuid": str(uuid.uuid4()), "connector": {"host": "here"}}
    row = cloud.volume("POST", "/attachments", {"attachment": fields})["attachment"]
    where = row["connection_info"]
    uri = f"nbd+unix:///{where['export']}?socket={where['unix']}"
    path = folder / volume
    subprocess.run(["nbdcopy", uri, str(path)], check=True, timeout=60)
    cloud.volume("DELETE", f"/attachments/{row['id']}")
    with path.open("rb") as file:
        return file.read(len(DATA))


def remove_all(cloud: Cloud) -> None:
    """As a user would."""
    for noun in ("backups", "snapshots", "volumes"):
        for row in cloud.volume("GET", f"/{noun}/detail")[noun]:
            cloud.volume("DELETE", f"/{noun}/{row['id']}")
        until = time.monotonic() + SETTLED_WITHIN_S
        while any(name.startswith(noun) for name in cloud.statuses()):
            assert time.monotonic() < until, cloud.statuses()
            time.sleep(POLL_S)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("everything", [False, True], ids=["the add-on", "the whole store"])
def test_it_goes_on_where_it_was(
    cloud: Cloud, images: Sequence[str], everything: bool, tmp_path: Path
) -> None:
    source = cloud.make("volumes", size=1, imageRef=images[0])
    assert set(cloud.settled().values()) == {"available"}
    made: list[str] = []
    for moment_s in MOMENTS_S:
        made += begin(cloud, images, source)
        time.sleep(moment_s)  # whatever it is doing then: no moment may be a bad one
        kill(cloud, everything=everything)
        found = cloud.settled()
        assert set(found.values()) == {"available"}, found
    assert len(found) == 1 + len(MOMENTS_S) * 5
    for volume in made[-3:]:
        assert the_bytes(cloud, volume, tmp_path) == DATA
    backup = cloud.volume("GET", "/backups")["backups"][0]["id"]
    restored = cloud.make("volumes", size=1, backup_id=backup)
    assert set(cloud.settled().values()) == {"available"}
    assert the_bytes(cloud, restored, tmp_path) == DATA
    remove_all(cloud)
    until = time.monotonic() + SETTLED_WITHIN_S
    while left := cloud.objects():  # chunks go with the next sweep
        assert time.monotonic() < until, left
        time.sleep(POLL_S)


def kill(cloud: Cloud, *, everything: bool) -> None:
    """With SIGKILL; returns when it is gone, or serves again."""
    if everything:
        cloud.store.kill()
        cloud.store.restart()
        return
    process = cloud.process()
    os.kill(process, signal.SIGKILL)
    cloud.store.wait_for(lambda: not cloud.store.lives(process))
