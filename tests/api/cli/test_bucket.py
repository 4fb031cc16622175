"""`atoll bucket` over real processes: shards split and objects change their policy under load."""

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import botocore.config
import pytest

from tests.api.cli.commands import atoll
from tests.api.store import RunningStore, start_store

OBJECTS = 700
LARGE = 12
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store that collects soon."""
    with start_store(tmp_path_factory.mktemp("bucket"), collect_grace_s=1) as running:
        yield running


def client(store: RunningStore) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 1}, max_pool_connections=20
        ),
    )


def listed(s3: Any, bucket: str) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def large(number: int) -> bytes:
    return random.Random(number).randbytes(200_000 + number)


class Load:
    """Writes, reads, deletes and lists until it is told to stop; problems: what went wrong."""

    def __init__(self, store: RunningStore, bucket: str) -> None:
        self._s3 = client(store)
        self._bucket = bucket
        self._stop = threading.Event()
        self.present: dict[str, bytes] = {}
        self.rounds = 0
        self.problems: list[str] = []

    def run(self) -> None:
        rnd = random.Random(3)
        while not self._stop.is_set():
            try:
                self._round(rnd)
            except Exception as error:  # a test's thread: whatever it is
                self.problems.append(repr(error))

    def _round(self, rnd: random.Random) -> None:
        self.rounds += 1
        name = f"load/{rnd.randrange(200)}"
        if rnd.random() < 0.2 and name in self.present:
            self._s3.delete_object(Bucket=self._bucket, Key=name)
            del self.present[name]
        else:
            data = rnd.randbytes(rnd.choice([100, 100, 100, 90_000]))
            self._s3.put_object(Bucket=self._bucket, Key=name, Body=data)
            self.present[name] = data
        other = rnd.choice(sorted(self.present) or [name])
        if other in self.present:
            got = self._s3.get_object(Bucket=self._bucket, Key=other)["Body"].read()
            if got != self.present[other]:
                self.problems.append(f"{other} has other bytes")
        if self.rounds % 10 == 0:
            shown = {name for name in listed(self._s3, self._bucket) if name.startswith("load/")}
            if shown != self.present.keys():
                self.problems.append(f"a listing differs in {shown ^ self.present.keys()}")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._stop.clear()


def bucket(store: RunningStore, action: str, *arguments: object) -> dict[str, Any]:
    asked = atoll("bucket", action, *arguments, "--data", store.data, "--json")
    assert asked.status == 0, asked.err
    document: dict[str, Any] = json.loads(asked.out)
    return document


def wait_until_done(store: RunningStore, name: str, what: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while (shown := bucket(store, "show", name))[what] is not None:
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)
    return shown


def fill(s3: Any, name: str) -> None:
    s3.create_bucket(Bucket=name)
    bodies = {f"o/{number:05d}": b"%d" % number for number in range(OBJECTS)}
    bodies |= {f"large/{number}": large(number) for number in range(LARGE)}
    with ThreadPoolExecutor(8) as pool:
        for put in [pool.submit(s3.put_object, Bucket=name, Key=k, Body=b) for k, b in bodies.items()]:
            put.result()


def check(s3: Any, name: str, load: Load) -> None:
    names = {f"o/{number:05d}" for number in range(OBJECTS)} | load.present.keys()
    assert listed(s3, name) == names | {f"large/{number}" for number in range(LARGE)}
    for number in range(LARGE):
        got = s3.get_object(Bucket=name, Key=f"large/{number}")
        assert got["Body"].read() == large(number)
    for number in range(0, OBJECTS, 97):
        assert s3.get_object(Bucket=name, Key=f"o/{number:05d}")["Body"].read() == b"%d" % number


def test_a_bucket_splits_and_changes_its_policy_and_back_under_load(
    small_shards: RunningStore,
) -> None:
    store, name = small_shards, "splits"
    s3 = client(store)
    fill(s3, name)
    load = Load(store, name)
    with load.running():
        begun = bucket(store, "reshard", name, "--shards", 16)
        assert begun["reshard"]["target"] == 16
        shown = wait_until_done(store, name, "reshard")
        assert shown["shards"] == 16
        policies = {}
        for policy in ("ec-4-2", "replicated-3"):
            assert bucket(store, "policy", name, policy)["policy"] == policy
            deadline = time.monotonic() + DEADLINE_S
            while (shown := bucket(store, "show", name))["repolicy"] is not None:
                if shown["repolicy"]["passes"] > 0:
                    break  # the last pass comes when no process can remember the old policy
                assert time.monotonic() < deadline, shown
                time.sleep(0.2)
            policies[policy] = (shown["repolicy"] or {"objects": LARGE})["objects"]
    assert load.problems == []
    assert load.rounds > 20
    assert min(policies.values()) >= LARGE
    check(s3, name, load)
    shown = bucket(store, "show", name)
    assert shown["objects"] == OBJECTS + LARGE + len(load.present)
    text = atoll("bucket", "show", name, "--data", store.data)
    assert "policy replicated-3, 16 shards" in text.out


def test_what_can_not_be_done_says_why_and_changes_nothing(small_shards: RunningStore) -> None:
    store = small_shards
    client(store).create_bucket(Bucket="stays")
    before = bucket(store, "show", "stays")
    for arguments, reason in (
        (("policy", "stays", "ec-3-9"), "the ring has no such policy"),
        (("policy", "nowhere", "ec-4-2"), "there is no such bucket"),
        (("reshard", "stays", "--shards", 6), "power of two"),
        (("reshard", "stays", "--shards", 4), "already"),
        (("show", "stays", "--account", "AUTH_other"), "there is no such bucket"),
    ):
        refused = atoll("bucket", *arguments, "--data", store.data)
        assert refused.status == 1
        assert reason in refused.err
    assert bucket(store, "show", "stays") == before
