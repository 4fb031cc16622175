"""Objects whose time is over are deleted, and no others, whoever writes them meanwhile."""

import asyncio

from proxy.core.store import CoreStore
from proxy.core.types import Container, ObjectAttributes
from proxy.repair.contract import Worked
from proxy.repair.expire import Expirer
from runtime.randomness import SeededRandomness
from storage.faults import Arrive
from storage.types import Prepare, RowAnswer, RowMessage
from tests.grid import BytesBody, throttle
from tests.property.core.world import START_NS, World, run

SMALL, LARGE = b"abcd", b"abcd" * 50_000
START_S = START_NS // 10**9


def expirers(world: World) -> list[Expirer]:
    store = world.proxy()
    clock, pace = world.clock, throttle(world.clock).pace()
    randomness = SeededRandomness(1)
    return [
        Expirer(device, lambda: world.ring, store.rows, clock, randomness, pace)
        for device in world.devices
    ]


async def walk(world: World) -> int:
    """One walk of each device's worker; how many objects they deleted."""
    made = expirers(world)
    for worker in made:
        while await worker.work() is not Worked.IDLE:
            continue
    return sum(worker.expired for worker in made)


async def put(store: CoreStore, container: Container, name: str, data: bytes, delete_at_s: int) -> None:
    attributes = ObjectAttributes("text/plain", delete_at_s=delete_at_s)
    await store.put_object(container, name, BytesBody(data), attributes)


async def there(store: CoreStore, container: Container, name: str) -> bool:
    """Whether there is a row; readers refuse expired ones above this."""
    raw = name.encode()
    return (await store.rows.read(container.head.layout.shard_of(raw), raw)).live


def test_what_is_over_goes_once_and_the_rest_stays() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        for number in range(8):
            await put(store, container, f"over{number}", (SMALL, LARGE)[number % 2], START_S + 50)
            await put(store, container, f"later{number}", SMALL, START_S + 10_000)
            await put(store, container, f"never{number}", LARGE, 0)
        assert await walk(world) == 0
        await asyncio.sleep(60)
        assert await walk(world) == 8
        assert await walk(world) == 0
        for number in range(8):
            assert not await there(store, container, f"over{number}")
            assert await there(store, container, f"later{number}")
            assert await there(store, container, f"never{number}")
        await world.collector(store).round()
        assert len(await world.blob_ids()) == 8

    run(scene())


def test_an_object_that_is_put_anew_meanwhile_stays() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        await put(store, container, "o", SMALL, START_S + 50)
        await asyncio.sleep(60)
        made = expirers(world)
        again: list[asyncio.Task[None]] = []

        def before_the_first_phase(_device: int, message: RowMessage | RowAnswer, _: Arrive) -> bool:
            if type(message) is Prepare and not again:
                again.append(asyncio.ensure_future(put(store, container, "o", SMALL, 0)))
                asyncio.get_running_loop().call_later(1.0, _)
                return True
            return False

        world.links[-1].delay_max_s = 0.5
        world.links[-1].script = before_the_first_phase
        for worker in made:
            while await worker.work() is not Worked.IDLE:
                continue
        assert len(again) == 1
        await again[0]
        assert await there(store, container, "o")
        assert sum(worker.expired for worker in made) == 0

    run(scene())
