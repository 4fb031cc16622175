"""When reads ask another replica, too: as soon as one is slow for its kind, and never all of them."""

import asyncio
import random

import pytest

from proxy.core.latency import QUANTILE, Latency
from proxy.core.operations import HEDGE_S, HEDGES_MAX, HEDGES_SHARE
from proxy.core.store import CoreStore
from proxy.core.types import Container, ObjectAttributes
from storage.faults import Arrive
from storage.types import RowAnswer, RowMessage
from tests.grid import BytesBody, whole
from tests.property.core.world import World, run

PLAIN = ObjectAttributes("text/plain")


@pytest.mark.parametrize("mean_s", [0.0005, 0.004, 0.02])
def test_the_estimate_is_near_the_quantile_whatever_the_times_are(mean_s: float) -> None:
    rng = random.Random(1)
    latency = Latency(0.0, 10.0)
    for _ in range(5000):
        latency.saw(rng.expovariate(1 / mean_s))
    above = 0
    for _ in range(5000):
        seconds = rng.expovariate(1 / mean_s)
        above += seconds > latency.usual_s
        latency.saw(seconds)
    assert (1 - QUANTILE) / 2 < above / 5000 < (1 - QUANTILE) * 2


def test_delays_stay_within_their_bounds() -> None:
    latency = Latency(0.01, 0.25)
    for _ in range(10_000):
        latency.saw(0.0)
    assert latency.hedge_s == 0.01
    for _ in range(10_000):
        latency.saw(60.0)
    assert latency.hedge_s == 0.25


async def get(store: CoreStore, container: Container, name: str) -> float:
    """Read it; how long that took."""
    begun = asyncio.get_running_loop().time()
    opened = await store.open_object(container, name)
    assert await whole(opened.stream(0, opened.info.head.size_bytes)) == b"x"
    return asyncio.get_running_loop().time() - begun


class Slow:
    """A link whose messages to some devices take `seconds` each way."""

    def __init__(self, world: World, devices: set[int], seconds: float) -> None:
        self.devices = devices
        self.seconds = seconds
        self.messages = 0
        world.links[0].script = self

    def __call__(self, device_id: int, _message: RowMessage | RowAnswer, arrive: Arrive) -> bool:
        self.messages += 1
        if device_id not in self.devices:
            return False
        asyncio.get_running_loop().call_later(self.seconds, arrive)
        return True


async def stored(world: World, objects: int) -> tuple[CoreStore, Container]:
    store = world.proxy()
    container = await store.create_container("a", "c")
    for number in range(objects):
        await store.put_object(container, f"o{number}", BytesBody(b"x"), PLAIN)
    for _ in range(3000):
        await get(store, container, f"o{_ % objects}")
    return store, container


def test_one_slow_device_hardly_slows_reads_down() -> None:
    async def scene() -> None:
        world = World()
        store, container = await stored(world, 20)
        for slow in range(6):
            Slow(world, {slow}, 0.1)
            for number in range(20):
                assert await get(store, container, f"o{number}") < 0.06

    run(scene())


def test_where_all_are_slow_only_a_share_of_the_reads_is_hedged_early() -> None:
    async def scene() -> None:
        world = World()
        store, container = await stored(world, 20)
        watch = store.rows._watch
        before = watch.hedged
        slow = Slow(world, set(range(6)), 0.05)
        assert 2 * slow.seconds < HEDGE_S
        reads = 2000
        for at in range(0, reads, 1000):
            await asyncio.gather(*(get(store, container, f"o{n % 20}") for n in range(at, at + 1000)))
        assert watch.hedged - before <= HEDGES_MAX + HEDGES_SHARE * reads

    run(scene())
