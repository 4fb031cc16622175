"""kill -9 of one worker, again and again, under load: the supervisor starts it again, the others go on,
and clients see no more than failures that they may try again, for a moment.
"""

import asyncio
import http.client
import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Load, Place, end_within
from tests.cluster.s3 import connect

KILLS = 4
CLIENTS = 8
KEYS = 24
BACK_WITHIN_S = 60.0
"""The supervisor waits up to 3.2 s before it starts a worker for the fourth time in a row."""

QUIET_S = 0.7
POLL_S = 0.05


async def test_a_killed_worker_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    load = Load([Place("bucket", f"k{n}") for n in range(KEYS)], seed)
    with start_store(tmp_path, part_min_bytes=1) as store:
        async with connect(store, keep=False) as s3:
            await s3.create_bucket("bucket")
            clients = asyncio.ensure_future(load.run(s3, CLIENTS))
            try:
                outages = [await _kill_one(store, load, number % 2, chance) for number in range(KILLS)]
                load.end()
                await end_within(clients, 60)
            finally:
                clients.cancel()
            await load.finish_uploads(s3)
            await load.verify(s3)
        print(f"answers {load.answers}, failures after the kills {outages}")
        told = store.banner
    assert told.count("ended with signal 9; starting it again") == KILLS, told
    assert load.acknowledged > 10 * KILLS


async def _kill_one(store: RunningStore, load: Load, worker: int, chance: random.Random) -> int:
    """Kill a worker and wait until it is back and all is quiet; how many writes failed meanwhile."""
    pids = await asyncio.to_thread(store.worker_pids)
    await asyncio.sleep(chance.uniform(0.1, 0.6))
    before = len(load.failed_at)
    os.kill(pids[worker], signal.SIGKILL)
    await _until(lambda: len(_pids(store) - {pids[worker]}) == len(pids), BACK_WITHIN_S)
    await _until(lambda: time.monotonic() - max([0.0, *load.failed_at]) > QUIET_S, BACK_WITHIN_S)
    acknowledged = load.acknowledged
    await _until(lambda: load.acknowledged > acknowledged + CLIENTS, BACK_WITHIN_S)
    return len(load.failed_at) - before


def _pids(store: RunningStore) -> set[int]:
    """The workers that say something of themselves."""
    try:
        return set(store.worker_pids())
    except (OSError, http.client.HTTPException):
        return set()  # worker 0 has the admin port


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(POLL_S)
