"""What is left of split shards and deleted containers: one row each, their seal."""

import asyncio
from functools import partial

from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import Container, ListQuery
from proxy.repair.clear import Clearer
from proxy.repair.contract import Worked
from storage.types import SEAL_NAME, Pull, Pulled
from tests.grid import BytesBody, throttle
from tests.property.core.test_histories import PLAIN, seen_by
from tests.property.core.test_reshard import Mover, ask
from tests.property.core.world import World, run


def names_in(world: World, shard: bytes) -> set[bytes]:
    """Of all rows that any device holds of a shard."""
    found: set[bytes] = set()
    for device in world.devices:
        answers: list[object] = []
        device.send(Pull(shard, b"", 1000), b"", 10**9, partial(_keep, answers))
        assert isinstance(answers[0], Pulled)
        found |= {row.name for row in answers[0].rows}
    return found


def _keep(answers: list[object], answer: object, _payload: bytes) -> None:
    answers.append(answer)


async def clear(world: World, store: CoreStore) -> None:
    placement = Placement(world.ring, dict(enumerate(world.devices)), world.policies)
    pace = throttle(world.clock).pace()
    owned = [device.device_id for device in world.devices]
    worker = Clearer(store.rows, placement, owned, world.clock, pace)
    while await worker.work() is not Worked.IDLE:
        await asyncio.sleep(0)


async def filled(store: CoreStore) -> Container:
    container = await store.create_container("a", "c")
    for number in range(40):
        await store.put_object(container, f"o{number}", BytesBody(b"x"), PLAIN)
    await store.delete_object(container, "o7")
    return container


def test_split_shards_are_cleared_and_nothing_else() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await filled(store)
        before = await seen_by(store, container)
        old = container.head.layout.all_shards()
        mover = Mover(world, container)
        await ask(mover, 8)
        await clear(world, store)
        assert all(len(names_in(world, shard)) > 1 for shard in old)  # asked for is not done
        await mover.work()
        await clear(world, store)
        assert all(names_in(world, shard) == {SEAL_NAME} for shard in old)
        assert await seen_by(store, container) == before
        assert len(before) == 39
        stale = world.proxy()
        await stale.put_object(container, "new", BytesBody(b"y"), PLAIN)  # who remembers is told
        assert (await stale.head_object(container, "o3")).head.size_bytes == 1
        page = await stale.list_objects(container, ListQuery())
        assert len(page.entries) == 40

    run(scene())


def test_a_container_that_is_gone_leaves_its_seals() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await filled(store)
        for name in await seen_by(store, container):
            await store.delete_object(container, name)
        await store.delete_container(container)
        await clear(world, store)
        shards = container.head.layout.all_shards()
        assert all(names_in(world, shard) == {SEAL_NAME} for shard in shards)

    run(scene())
