"""Command-line clients as people run them: awscli, s3cmd, rclone, restic."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.s3.conftest import Endpoint

Run = Callable[..., str]
BIN = Path(sys.executable).parent
MIB = 1024**2

pytestmark = pytest.mark.clients


@pytest.fixture
def run(endpoint: Endpoint, tmp_path: Path) -> Run:
    """Run a command that must succeed, with the endpoint in its environment; its output."""
    config = tmp_path / "clients"
    config.mkdir()
    (config / "s3cfg").write_text(
        f"[default]\naccess_key = demo-key\nsecret_key = demo-secret\nuse_https = False\n"
        f"host_base = {endpoint.host}:{endpoint.port}\nhost_bucket = {endpoint.host}:{endpoint.port}\n"
    )
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(config),
        "AWS_ACCESS_KEY_ID": "demo-key",
        "AWS_SECRET_ACCESS_KEY": "demo-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_MAX_ATTEMPTS": "1",
        "RCLONE_CONFIG": str(config / "rclone.conf"),
        "RCLONE_CONFIG_ATOLL_TYPE": "s3",
        "RCLONE_CONFIG_ATOLL_PROVIDER": "Other",
        "RCLONE_CONFIG_ATOLL_ACCESS_KEY_ID": "demo-key",
        "RCLONE_CONFIG_ATOLL_SECRET_ACCESS_KEY": "demo-secret",
        "RCLONE_CONFIG_ATOLL_ENDPOINT": endpoint.url,
        "RESTIC_PASSWORD": "only a test",
        "RESTIC_CACHE_DIR": str(config / "restic"),
    }

    def command(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of many sizes, with names that need care."""
    root = tmp_path / "tree"
    sizes = {
        "empty": 0,
        "small.txt": 11,
        "with space & +plus.bin": 5000,
        "\u00fcml\u00e4ut/\u4e2d.dat": 70_000,
        "deep/er/and/deeper": 200_000,
        "large.bin": 20 * MIB + 3,
    }
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_awscli(run: Run, tree: Path, tmp_path: Path) -> None:
    aws: Run = lambda *words: run("aws", *words)  # noqa: E731
    aws("s3", "mb", "s3://aws-cli")
    assert "aws-cli" in aws("s3", "ls")
    aws("s3", "cp", tree / "large.bin", "s3://aws-cli/one", "--no-progress")
    aws("s3", "cp", "s3://aws-cli/one", tmp_path / "one", "--no-progress")
    assert (tmp_path / "one").read_bytes() == (tree / "large.bin").read_bytes()
    aws("s3", "sync", tree, "s3://aws-cli/tree", "--no-progress")
    assert aws("s3", "sync", tree, "s3://aws-cli/tree", "--no-progress") == ""
    aws("s3", "cp", "--recursive", "s3://aws-cli/tree", "s3://aws-cli/copy", "--no-progress")
    aws("s3", "sync", "s3://aws-cli/copy", tmp_path / "back", "--no-progress")
    assert contents(tmp_path / "back") == contents(tree)
    assert "20971523 large.bin" in aws("s3", "ls", "s3://aws-cli/copy/")
    aws("s3", "rb", "--force", "s3://aws-cli")
    assert "aws-cli" not in aws("s3", "ls")


def test_s3cmd(run: Run, tree: Path, tmp_path: Path) -> None:
    s3cmd: Run = lambda *words: run("s3cmd", "-c", tmp_path / "clients" / "s3cfg", *words)  # noqa: E731
    s3cmd("mb", "s3://s3-cmd")
    s3cmd("put", "--multipart-chunk-size-mb=5", tree / "large.bin", "s3://s3-cmd/one")
    s3cmd("get", "s3://s3-cmd/one", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (tree / "large.bin").read_bytes()
    s3cmd("sync", f"{tree}/", "s3://s3-cmd/tree/")
    s3cmd("cp", "s3://s3-cmd/one", "s3://s3-cmd/two")
    s3cmd("mv", "s3://s3-cmd/two", "s3://s3-cmd/three")
    listing = s3cmd("ls", "--recursive", "s3://s3-cmd")
    assert "s3://s3-cmd/three" in listing
    assert "s3://s3-cmd/two" not in listing
    (tmp_path / "back").mkdir()
    s3cmd("sync", "s3://s3-cmd/tree/", f"{tmp_path / 'back'}/")
    assert contents(tmp_path / "back") == contents(tree)
    assert "MD5" in s3cmd("info", "s3://s3-cmd/tree/small.txt")
    assert "Location" in s3cmd("info", "s3://s3-cmd")
    assert "files" in s3cmd("du", "s3://s3-cmd").lower() or s3cmd("du", "s3://s3-cmd")
    s3cmd("del", "--recursive", "--force", "s3://s3-cmd")
    s3cmd("rb", "s3://s3-cmd")


def test_rclone(run: Run, tree: Path, tmp_path: Path) -> None:
    rclone: Run = lambda *words: run("rclone", *words)  # noqa: E731
    rclone("sync", tree, "atoll:r-clone/tree", "--s3-chunk-size=5M", "--s3-upload-cutoff=10M")
    rclone("check", "--download", tree, "atoll:r-clone/tree")
    rclone("sync", "atoll:r-clone/tree", "atoll:r-clone/copy")
    (tree / "small.txt").unlink()
    rclone("sync", tree, "atoll:r-clone/copy")
    rclone("check", tree, "atoll:r-clone/copy")
    rclone("copy", "atoll:r-clone/copy", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)
    assert "20971523 large.bin" in rclone("ls", "atoll:r-clone/copy")
    rclone("purge", "atoll:r-clone")
    assert "r-clone" not in rclone("lsd", "atoll:")


def test_restic(run: Run, tree: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    def restic(*words: object) -> str:
        return run("restic", "-r", f"s3:{endpoint.url}/rest-ic/repository", *words)

    restic("init")
    restic("backup", tree)
    (tree / "small.txt").write_text("changed")
    restic("backup", tree)
    assert "no errors were found" in restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "back")
    restored = tmp_path / "back" / tree.relative_to("/")
    assert contents(restored) == contents(tree)
    restic("forget", "--keep-last=1", "--prune")
    assert "no errors were found" in restic("check")


def test_the_clients_are_installed() -> None:
    for name in ("aws", "s3cmd"):
        assert (BIN / name).exists()
    for name in ("rclone", "restic"):
        assert shutil.which(name) is not None
