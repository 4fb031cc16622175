"""The load generator's process: `python -m tools.bench.generator`, driven over its standard input.

Each line in is a `Load`; it answers a line once all requests are built and signed, waits for a line
`go`, runs the load and answers with a `LoadResult`. Between the lines it does nothing, so that the
harness can read the machine's counters around a row. Ends at the end of its input.
"""

import asyncio
import gc
import ssl
import sys
import time
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import urlsplit

import msgspec
import uvloop

from tools.bench.connection import Connection, Recorder
from tools.bench.load import Load, LoadResult
from tools.bench.payload import Payloads
from tools.bench.work import Work, build

READY = b"ready"
GO = b"go"
STALL_S = 60.0
"""A row is given up when it goes on for this long after its time is over."""
RECONNECT_S = 0.05
"""Pause before a refused connection is tried again."""


async def run_load(load: Load, work: Work) -> LoadResult:
    """Send all requests of a load; returns when each has been answered or lost."""
    recorder = Recorder(load, work, time.perf_counter)
    try:
        async with asyncio.timeout(load.max_seconds + STALL_S), asyncio.TaskGroup() as group:
            for _ in range(load.connections):
                group.create_task(keep_connected(load, recorder))
    except TimeoutError:
        recorder.failed("stalled", f"no answer {STALL_S:.0f} s after the row's time was over")
    return recorder.result()


async def keep_connected(load: Load, recorder: Recorder) -> None:
    """One client: connects, again where it must, until the recorder has no more requests."""
    loop = asyncio.get_running_loop()
    url = urlsplit(load.server.endpoint)
    context = ssl.create_default_context() if url.scheme == "https" else None
    port = url.port or (443 if context else 80)
    while not recorder.exhausted():
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(recorder, loop), url.hostname or "", port, ssl=context
            )
        except OSError as error:
            recorder.failed("no connection", str(error))
            await asyncio.sleep(RECONNECT_S)
            continue
        try:
            await connection.closed
        finally:
            connection.abort()


def serve(commands: BinaryIO, answers: BinaryIO) -> None:
    """Work off the loads on `commands` until it ends."""
    payloads = Payloads()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while line := commands.readline():
            load = msgspec.json.decode(line, type=Load)
            work = build(load, payloads, datetime.now(UTC))
            _answer(answers, READY)
            if commands.readline().strip() != GO:
                return
            _answer(answers, msgspec.json.encode(_run_undisturbed(runner, load, work)))


def _run_undisturbed(runner: asyncio.Runner, load: Load, work: Work) -> LoadResult:
    """Run with the collector off: it would walk through a hundred thousand requests again and again."""
    gc.collect()
    gc.disable()
    try:
        return runner.run(run_load(load, work))
    finally:
        gc.enable()


def _answer(answers: BinaryIO, line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
