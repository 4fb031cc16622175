"""Clients that stall, vanish, say nothing or talk nonsense: others do not notice, nothing stays."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Place, body_of
from tests.cluster.s3 import S3, connect
from tools.bench.signing import Credentials, Signer, canonical_path

IDLE = 2_000
WITHIN_S = 20.0
"""How soon others must be answered meanwhile, on a busy machine."""
LARGE = 8_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningStore]:
    """With the soft limit on open files that many systems start with."""
    few_files = ("sh", "-c", 'ulimit -S -n 1024 && exec "$@"', "sh")
    with start_store(tmp_path, wrapper=few_files) as running:
        yield running


@pytest.fixture
async def s3(store: RunningStore) -> AsyncIterator[S3]:
    async with connect(store, keep=False) as client:
        await client.create_bucket("bucket")
        yield client


async def _others_are_served(s3: S3) -> None:
    """Small and large, by whichever worker."""
    begun = time.monotonic()
    for number in range(12):
        place = Place("bucket", f"other{number}")
        body = body_of(f"bucket.{place.key}-1-{300_000 if number % 3 else 3_000}")
        assert (await s3.put(*place, body)).status == 200
        assert (await s3.get(*place)).body == body
    assert time.monotonic() - begun < WITHIN_S


def _head(store: RunningStore, method: str, key: str, size: int | None = None) -> bytes:
    credentials = Credentials(store.access_key, store.secret_key)
    signer = Signer(credentials, f"127.0.0.1:{store.port}", datetime.now(UTC))
    return signer.head(method, canonical_path("bucket", key), size_bytes=size)


@contextlib.asynccontextmanager
async def _connections(
    store: RunningStore, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    made = []
    try:
        for _ in range(count):
            made.append(await asyncio.open_connection("127.0.0.1", store.port))
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


def _staged(store: RunningStore) -> list[Path]:
    return list(store.data.glob("devices/*/staging/*"))


async def _until_nothing_is_staged(store: RunningStore) -> None:
    async with asyncio.timeout(60):
        while _staged(store):
            await asyncio.sleep(0.05)


async def test_idle_connections_do_not_keep_others_out(store: RunningStore, s3: S3) -> None:
    async with _connections(store, IDLE):
        await _others_are_served(s3)
    await _others_are_served(s3)


async def test_bodies_that_stall_do_not_hold_others_up(store: RunningStore, s3: S3) -> None:
    async with _connections(store, 100) as made:
        for number, (_, writer) in enumerate(made):
            writer.write(_head(store, "PUT", f"stalled{number}", LARGE) + bytes(1_500_000))
        await _others_are_served(s3)
    await _until_nothing_is_staged(store)
    assert not [key for key in await s3.list_all("bucket") if key.startswith("stalled")]


async def test_readers_that_stall_do_not_hold_others_up(store: RunningStore, s3: S3) -> None:
    assert (await s3.put("bucket", "large", bytes(LARGE))).status == 200
    async with _connections(store, 100) as made:
        for reader, writer in made:
            writer.write(_head(store, "GET", "large"))
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await _others_are_served(s3)


@pytest.mark.parametrize("size", [5_000, LARGE])
async def test_clients_that_vanish_leave_nothing(store: RunningStore, s3: S3, size: int) -> None:
    async with _connections(store, 20) as made:
        for number, (_, writer) in enumerate(made):
            writer.write(_head(store, "PUT", f"gone{number}", size) + bytes(size // 2))
            await writer.drain()
    await _others_are_served(s3)
    await _until_nothing_is_staged(store)
    assert not [key for key in await s3.list_all("bucket") if key.startswith("gone")]
    blobs = list(store.data.glob("devices/*/blobs/*/*"))
    assert len(blobs) == 3 * 8, "only those that the others wrote"


async def test_a_client_that_has_no_more_to_send(store: RunningStore, s3: S3) -> None:
    """It closes its sending half: the object is whole, or there is none, and nobody hangs."""
    for number, size in enumerate((5_000, 300_000)):
        body = body_of(f"bucket.half{number}-1-{size}")
        reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
        writer.write(_head(store, "PUT", f"half{number}", size) + body)
        writer.write_eof()
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
        found = await s3.get("bucket", f"half{number}")
        assert (found.status, found.body == body) in {(200, True), (404, False)}
        if answer.startswith(b"HTTP/1.1 200"):
            assert found.status == 200
    await _others_are_served(s3)
    await _until_nothing_is_staged(store)


async def test_nonsense_is_answered_and_forgotten(store: RunningStore, s3: S3) -> None:
    chance = random.Random(7)
    nonsense = [
        b"\x16\x03\x01" + bytes(200),
        b"GET\r\n\r\n",
        b"PUT /bucket/o HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /bucket/o HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        *(chance.randbytes(chance.randrange(1, 5000)) + b"\r\n\r\n" for _ in range(50)),
    ]
    async with _connections(store, len(nonsense)) as made:
        for sent, (reader, writer) in zip(nonsense, made, strict=True):
            writer.write(sent)
            with contextlib.suppress(OSError):
                writer.write_eof()
                async with asyncio.timeout(60):
                    answer = await reader.read()
                assert not answer or answer.startswith(b"HTTP/1."), answer[:100]
                assert b"Traceback" not in answer
        await _others_are_served(s3)
    assert "Traceback" not in store.banner
