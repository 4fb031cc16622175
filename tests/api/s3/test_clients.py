"""Clients as people run them, against a store of two workers on disk: awscli, s3cmd, rclone, restic,
and boto3 where requests of several workers meet."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.api.store import RunningStore, clean_environment

Run = Callable[..., str]
BIN = Path(sys.executable).parent
MIB = 1024**2

pytestmark = pytest.mark.clients


@pytest.fixture
def run(store: RunningStore, tmp_path: Path) -> Run:
    """Run a command that must succeed, with the endpoint in its environment; its output."""
    config = tmp_path / "clients"
    config.mkdir()
    (config / "s3cfg").write_text(
        f"[default]\naccess_key = {store.access_key}\nsecret_key = {store.secret_key}\n"
        f"use_https = False\nhost_base = 127.0.0.1:{store.port}\nhost_bucket = 127.0.0.1:{store.port}\n"
    )
    environment = clean_environment() | {
        "HOME": str(config),
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_MAX_ATTEMPTS": "1",
        "RCLONE_CONFIG": str(config / "rclone.conf"),
        "RCLONE_CONFIG_ATOLL_TYPE": "s3",
        "RCLONE_CONFIG_ATOLL_PROVIDER": "Other",
        "RCLONE_CONFIG_ATOLL_ACCESS_KEY_ID": store.access_key,
        "RCLONE_CONFIG_ATOLL_SECRET_ACCESS_KEY": store.secret_key,
        "RCLONE_CONFIG_ATOLL_ENDPOINT": store.endpoint,
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


def test_restic(run: Run, tree: Path, tmp_path: Path, store: RunningStore) -> None:
    def restic(*words: object) -> str:
        return run("restic", "-r", f"s3:{store.endpoint}/rest-ic/repository", *words)

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


def test_awscli_on_erasure_coded_buckets(run: Run, tree: Path, tmp_path: Path) -> None:
    run(
        "aws",
        "s3api",
        "create-bucket",
        "--bucket=coded-cli",
        "--create-bucket-configuration",
        "LocationConstraint=us-east-1:ec-4-2",
    )
    run("aws", "s3", "sync", tree, "s3://coded-cli", "--no-progress")
    run("aws", "s3", "sync", "s3://coded-cli", tmp_path / "back", "--no-progress")
    assert contents(tmp_path / "back") == contents(tree)


@pytest.fixture
def clients(store: RunningStore) -> Iterator[list[Any]]:
    """boto3 clients with connections of their own, which the workers share out among them."""
    made = [
        boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            region_name="us-east-1",
        )
        for _ in range(8)
    ]
    yield made
    for client in made:
        client.close()


def test_of_conditional_puts_at_several_workers_one_wins(clients: list[Any]) -> None:
    clients[0].create_bucket(Bucket="races")

    def attempt(client: Any, key: str, body: bytes) -> str:
        try:
            client.put_object(Bucket="races", Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "done"

    with ThreadPoolExecutor(len(clients)) as pool:
        for turn in range(10):
            key = f"key-{turn}"
            bodies = [b"%d" % number for number in range(len(clients))]
            outcomes = list(pool.map(attempt, clients, [key] * len(clients), bodies))
            assert outcomes.count("done") == 1, outcomes
            winner = bodies[outcomes.index("done")]
            assert clients[turn % 8].get_object(Bucket="races", Key=key)["Body"].read() == winner


def test_a_write_is_in_the_listing_of_every_worker(clients: list[Any]) -> None:
    clients[0].create_bucket(Bucket="listed")
    for number in range(16):
        clients[number % 8].put_object(Bucket="listed", Key=f"k{number:02d}", Body=b"x")
        for client in clients:
            assert client.list_objects_v2(Bucket="listed")["KeyCount"] == number + 1


def test_the_clients_are_installed() -> None:
    for name in ("aws", "s3cmd"):
        assert (BIN / name).exists()
    for name in ("rclone", "restic"):
        assert shutil.which(name) is not None
