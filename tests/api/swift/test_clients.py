"""The real clients against the real store: python-swiftclient, library and command, and rclone."""

import filecmp
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from swiftclient import ClientException
from swiftclient.client import Connection

from tests.api.store import RunningStore, clean_environment

pytestmark = pytest.mark.clients

BIG_BYTES = 2_500_000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small tree with a large file and awkward names."""
    root = tmp_path / "files"
    (root / "dir" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("hello")
    (root / "empty").write_bytes(b"")
    (root / "dir" / "ü b%c.txt").write_text("ümlaut")
    (root / "dir" / "deep" / "x").write_bytes(bytes(range(256)) * 300)
    (root / "big.bin").write_bytes(os.urandom(BIG_BYTES))
    return root


def same_trees(left: Path, right: Path) -> bool:
    names = sorted(str(p.relative_to(left)) for p in left.rglob("*") if p.is_file())
    found = sorted(str(p.relative_to(right)) for p in right.rglob("*") if p.is_file())
    return names == found and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


# -- the library -------------------------------------------------------------------------------------


@pytest.fixture
def swift(store: RunningStore) -> Iterator[Connection]:
    login = {"user": "demo:demo", "key": store.secret_key, "auth_version": "1"}
    connection = Connection(authurl=f"{store.endpoint}/auth/v1.0", retries=0, **login)
    yield connection
    connection.close()


def test_the_library(swift: Connection) -> None:
    container = "library"
    swift.put_container(container)
    etag = swift.put_object(container, "o", b"content", headers={"X-Object-Meta-A": "1"})
    headers, body = swift.get_object(container, "o")
    assert (body, headers["etag"], headers["x-object-meta-a"]) == (b"content", etag, "1")
    swift.put_object(container, "chunked", iter([b"a", b"b" * 100_000]))
    assert swift.head_object(container, "chunked")["content-length"] == "100001"
    packed = gzip.compress(b"text " * 1000)
    swift.put_object(container, "packed", packed, headers={"Content-Encoding": "gzip"})
    assert swift.get_object(container, "packed")[1] in (packed, b"text " * 1000)
    assert swift.head_object(container, "packed")["content-length"] == str(len(packed))
    swift.post_object(container, "o", {"X-Object-Meta-B": "2"})
    swift.copy_object(container, "o", f"/{container}/p", headers={"X-Object-Meta-C": "3"})
    copied = swift.head_object(container, "p")
    assert (copied["x-object-meta-b"], copied["x-object-meta-c"]) == ("2", "3")
    listed = swift.get_container(container, full_listing=True)[1]
    assert [entry["name"] for entry in listed] == ["chunked", "o", "p", "packed"]
    assert swift.get_account()[0]["x-account-container-count"] != "0"
    for name in ("chunked", "o", "p", "packed"):
        swift.delete_object(container, name)
    swift.delete_container(container)
    with pytest.raises(ClientException) as caught:
        swift.head_container(container)
    assert caught.value.http_status == 404


# -- the command -------------------------------------------------------------------------------------


class SwiftCommand:
    """`swift` with the demo user's login."""

    def __init__(self, store: RunningStore, folder: Path) -> None:
        self._folder = folder
        self._environment = clean_environment(
            ST_AUTH=f"{store.endpoint}/auth/v1.0",
            ST_USER="demo:demo",
            ST_KEY=store.secret_key,
            LC_ALL="C.UTF-8",
        )

    def __call__(self, *arguments: str) -> str:
        program = Path(sys.executable).parent / "swift"
        done = subprocess.run(
            [str(program), *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def command(store: RunningStore, files: Path) -> SwiftCommand:
    return SwiftCommand(store, files)


def test_the_command_stores_and_fetches_a_tree(
    command: SwiftCommand, files: Path, tmp_path: Path
) -> None:
    command("upload", "tree", ".")
    assert sorted(command("list", "tree").splitlines()) == sorted(
        str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()
    )
    command("download", "tree", "-D", str(tmp_path / "back"))
    assert same_trees(files, tmp_path / "back")
    assert "Content Length: 5" in command("stat", "tree", "a.txt")
    command("post", "tree", "a.txt", "-m", "Color:blue")
    assert "Meta Color: blue" in command("stat", "tree", "a.txt")
    command("copy", "tree", "a.txt", "-d", "/tree/copied.txt")
    assert "copied.txt" in command("list", "tree", "-p", "copied")
    size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    assert f"Bytes: {size + 5}" in command("stat", "tree")
    command("delete", "tree")
    assert "tree" not in command("list").splitlines()


@pytest.mark.parametrize("kind", ["--use-slo", "--use-dlo"])
def test_the_command_in_segments(command: SwiftCommand, files: Path, tmp_path: Path, kind: str) -> None:
    command("upload", "seg", "-S", "1000000", kind, "big.bin")
    assert len(command("list", "seg_segments").splitlines()) == 3
    assert f"Content Length: {BIG_BYTES}" in command("stat", "seg", "big.bin")
    command("download", "seg", "big.bin", "-o", str(tmp_path / "back"))
    assert filecmp.cmp(files / "big.bin", tmp_path / "back", shallow=False)
    command("delete", "seg")
    assert command("list", "seg_segments") == ""
    command("delete", "seg_segments")


def test_the_command_knows_what_is_there(command: SwiftCommand) -> None:
    found: dict[str, Any] = json.loads(command("capabilities", "--json"))
    assert found["slo"]["max_manifest_segments"] == 1000
    assert "temp_url_sig=" in command("tempurl", "GET", "60", "/v1/AUTH_demo/c/o", "key")
    assert "X-Auth-Token" in command("auth") or "OS_AUTH_TOKEN" in command("auth")


# -- rclone ------------------------------------------------------------------------------------------


def test_rclone(store: RunningStore, files: Path, tmp_path: Path) -> None:
    assert shutil.which("rclone"), "the Debian package rclone is missing"
    config = tmp_path / "rclone.conf"
    config.write_text(
        f"[atoll]\ntype = swift\nuser = demo:demo\nkey = {store.secret_key}\nauth_version = 1\n"
        f"auth = {store.endpoint}/auth/v1.0\nchunk_size = 1Mi\n"
    )

    def rclone(*arguments: str) -> str:
        command = ["rclone", "--config", str(config), "--retries", "1", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    rclone("copy", str(files), "atoll:rc/tree")
    rclone("check", "--download", str(files), "atoll:rc/tree")
    rclone("copy", "atoll:rc/tree", str(tmp_path / "back"))
    assert same_trees(files, tmp_path / "back")
    rclone("copyto", "atoll:rc/tree/big.bin", "atoll:rc/copy.bin")
    assert f"{BIG_BYTES} copy.bin" in rclone("ls", "atoll:rc")
    rclone("deletefile", "atoll:rc/copy.bin")
    rclone("sync", str(files / "dir"), "atoll:rc/tree")
    assert sorted(line.split(None, 1)[1] for line in rclone("ls", "atoll:rc/tree").splitlines()) == [
        "deep/x",
        "ü b%c.txt",
    ]
    rclone("purge", "atoll:rc")
    rclone("purge", "atoll:rc_segments")
