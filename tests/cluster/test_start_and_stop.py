"""The store starts soon, also after a kill with many rows, and SIGTERM ends it in order under load."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Load as Clients
from tests.cluster.load import Place, body_of, end_within
from tests.cluster.s3 import connect
from tools.bench.driver import Generator
from tools.bench.load import Load, Operation, Server
from tools.bench.signing import Credentials, Signer, canonical_path

ROWS = 20_000
"""More than the journal is ahead of the index by: some are read from either."""

MOMENT_S = 0.2

UPLOAD = "streams.upload-1-8000000"
DOWNLOAD = "streams.download-1-8000000"


@pytest.fixture
def generator() -> Iterator[Generator]:
    with Generator() as running:
        yield running


async def test_a_start_after_a_kill_with_many_rows(tmp_path: Path, generator: Generator) -> None:
    with start_store(tmp_path) as store:
        async with connect(store) as s3:
            await s3.create_bucket("rows")
            stored = generator.run(_rows(store, "put", 0, ROWS))
            assert (stored.finished, stored.failures) == (ROWS, {}), stored.first_failure
        store.kill()
        begun = time.monotonic()
        store.restart()
        took_s = time.monotonic() - begun
        print(f"{ROWS} rows at {ROWS / stored.wall_s:.0f}/s; serves {took_s:.1f} s after the kill")
        for first in (0, ROWS - 2000):
            read = generator.run(_rows(store, "get", first, 2000))
            assert (read.finished, read.checked, read.failures) == (2000, 2000, {}), read
        async with connect(store) as s3:
            assert len(await s3.list_all("rows")) == ROWS


def _rows(store: RunningStore, operation: Operation, first: int, count: int) -> Load:
    return Load(
        operation=operation,
        server=Server(store.endpoint, store.access_key, store.secret_key),
        bucket="rows",
        key_prefix="row/",
        first=first,
        count=count,
        requests=count,
        size_bytes=16,
        connections=32,
        sample_every=1,
    )


async def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    places = [Place("bucket", f"k{number}") for number in range(16)]
    load = Clients(places, seed=1, uploads=False, swaps=False)
    with start_store(tmp_path) as store:
        async with connect(store) as s3:
            await s3.create_bucket("bucket")
            await s3.create_bucket("streams")
            assert (await s3.put("streams", "download", body_of(DOWNLOAD))).status == 200
            clients = asyncio.ensure_future(load.run(s3, 8))
            async with contextlib.AsyncExitStack() as stack:
                upload = await _begin_upload(stack, store)
                download = await _begin_download(stack, store)
                await asyncio.sleep(0.7)
                told_at = time.monotonic()
                store.signal(signal.SIGTERM)
                load.end()
                await end_within(clients, 30)
                await _until_nobody_listens(store)
                assert await upload.finish() == 200
                assert await download.finish() == body_of(DOWNLOAD)
        store.wait_for_end()
        # What was sent in the very moment of the signal may have met a connection being closed.
        begun = [op.begin - told_at for ops in load.histories.values() for op in ops if op.unknown]
        assert not [seconds for seconds in begun if seconds < -MOMENT_S], (begun, load.answers)
        assert load.acknowledged > 20
        store.restart()
        async with connect(store, keep=False) as s3:
            await load.verify(s3)
            for value in (UPLOAD, DOWNLOAD):
                key = value.split("-")[0].partition(".")[2]
                assert (await s3.get("streams", key)).body == body_of(value)


def _head(store: RunningStore, method: str, key: str, size: int | None = None) -> bytes:
    credentials = Credentials(store.access_key, store.secret_key)
    signer = Signer(credentials, f"127.0.0.1:{store.port}", datetime.now(UTC))
    return signer.head(method, canonical_path("streams", key), size_bytes=size)


class _Upload:
    """A PUT whose body is half sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def finish(self) -> int:
        """Send the rest; the answer's status."""
        body = body_of(UPLOAD)
        self._writer.write(body[len(body) // 2 :])
        await self._writer.drain()
        line = await self._reader.readline()
        return int(line.split()[1])


class _Download:
    """A GET whose answer is read slowly."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def finish(self) -> bytes:
        """Read all of it; what followed the header."""
        answer = await self._reader.read(-1)
        return answer.partition(b"\r\n\r\n")[2]


async def _begin_upload(stack: contextlib.AsyncExitStack, store: RunningStore) -> _Upload:
    reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
    stack.callback(writer.close)
    body = body_of(UPLOAD)
    writer.write(_head(store, "PUT", "upload", len(body)) + body[: len(body) // 2])
    await writer.drain()
    return _Upload(reader, writer)


async def _begin_download(stack: contextlib.AsyncExitStack, store: RunningStore) -> _Download:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", store.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=65536)
    stack.callback(writer.close)
    writer.write(_head(store, "GET", "download"))
    await writer.drain()
    return _Download(reader)


async def _until_nobody_listens(store: RunningStore) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", store.port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.05)


def test_workers_end_with_a_killed_supervisor_and_the_store_starts_again(tmp_path: Path) -> None:
    with start_store(tmp_path, drain_s=1.0) as store:
        os.kill(store.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while store.serves():
            assert time.monotonic() < deadline, "the workers serve on without a supervisor"
            time.sleep(0.05)
        store.kill()
        store.restart()
        assert store.serves()
