"""kill -9 of all processes at random moments under load: nothing acknowledged is lost, nothing torn is
served, the store comes back by itself and takes writes again.
"""

import asyncio
import random
import secrets
from pathlib import Path

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Load, Place, end_within
from tests.cluster.s3 import S3, connect

CYCLES = 3
CLIENTS = 12
KEYS = 20
UNDER_LOAD_S = (0.4, 2.5)

BUCKETS = {"plain": "replicated-3", "coded": "ec-4-2"}


async def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    places = [Place(bucket, f"k{n}") for bucket in BUCKETS for n in range(KEYS)]
    load = Load(places, seed)
    with start_store(tmp_path, part_min_bytes=1) as store:
        async with connect(store) as s3:
            for bucket, policy in BUCKETS.items():
                await s3.create_bucket(bucket, policy)
        for _ in range(CYCLES):
            await _kill_under_load(store, load, chance)
            await asyncio.to_thread(store.restart)
            async with connect(store, keep=False) as s3:
                await load.verify(s3)
                await load.finish_uploads(s3)
                await load.verify(s3)
                await _takes_everything(s3, load, chance)
        print(f"answers by status, reads' negative: {load.answers}")
        assert load.acknowledged > CYCLES * CLIENTS, load.answers
        async with connect(store, keep=False) as s3:
            await _empty(s3, places)
        assert not list(store.data.glob("devices/*/staging/*"))


async def _kill_under_load(store: RunningStore, load: Load, chance: random.Random) -> None:
    async with connect(store) as s3:
        clients = asyncio.ensure_future(load.run(s3, CLIENTS))
        try:
            await asyncio.wait([clients], timeout=chance.uniform(*UNDER_LOAD_S))
            assert not clients.done(), clients.exception()
            load.end()
            store.kill()
            await end_within(clients, 30)
        finally:
            clients.cancel()


async def _takes_everything(s3: S3, load: Load, chance: random.Random) -> None:
    """No lock, promise or half-done upload of the dead is in the way of a new write."""
    for place in chance.sample(load.places, 8):
        answer = await s3.put(*place, b"", content_type="text/plain")
        assert answer.status == 200, (place, answer)
        assert (await s3.delete(*place)).status == 204
        load.held[place] = None


async def _empty(s3: S3, places: list[Place]) -> None:
    for place in places:
        assert (await s3.delete(*place)).status == 204
    for bucket in BUCKETS:
        assert await s3.list_all(bucket) == {}
        answer = await s3.delete(bucket)
        assert answer.status == 204, answer
