"""What a verb says and leaves behind when devices refuse: full, gone, too few."""

import os

import pytest

from proxy.core.errors import Full, StoreError, Unavailable
from proxy.core.store import CoreStore
from proxy.core.types import NO_CONDITIONS, Conditions, Container, ObjectAttributes
from storage.types import Accept, Write
from tests.grid import BytesBody, whole
from tests.property.core.world import World, run

PLAIN = ObjectAttributes("text/plain")
LARGE = 200_000


async def read(store: CoreStore, container: Container, name: str) -> bytes:
    opened = await store.open_object(container, name)
    try:
        return await whole(opened.stream(0, opened.info.head.size_bytes))
    finally:
        opened.close()


def row_devices(world: World, container: Container, name: str) -> tuple[int, ...]:
    shard = container.head.layout.shard_of(name.encode())
    return world.row_devices(shard)


@pytest.mark.parametrize("conditions", [NO_CONDITIONS, Conditions(if_match=("*",))])
def test_blobs_stay_when_one_replica_took_the_row_and_the_others_were_full(
    conditions: Conditions,
) -> None:
    async def scene() -> None:
        world = World()
        writer, reader = world.proxy(), world.proxy()
        container = await writer.create_container("a", "c")
        old, new = os.urandom(LARGE), os.urandom(LARGE)
        await writer.put_object(container, "o", BytesBody(old), PLAIN)
        full = set(row_devices(world, container, "o")[1:])

        def fill(device_id: int, message: object, arrive: object) -> bool:
            if device_id in full and type(message) in (Write, Accept):
                world.devices[device_id].set_full(True)
            return False

        world.links[0].script = fill
        with pytest.raises(StoreError):
            await writer.put_object(container, "o", BytesBody(new), PLAIN, conditions=conditions)
        for device in world.devices:
            device.set_full(False)
        assert await read(reader, container, "o") == new

    run(scene())


def test_a_write_that_no_replica_has_room_for_is_full_and_leaves_nothing() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        await store.put_object(container, "o", BytesBody(b"old"), PLAIN)

        def fill(device_id: int, message: object, arrive: object) -> bool:
            if type(message) is Write:
                world.devices[device_id].set_full(True)
            return False

        world.links[0].script = fill
        with pytest.raises(Full):
            await store.put_object(container, "o", BytesBody(b"n" * LARGE), PLAIN)
        world.links[0].script = None
        for device in world.devices:
            device.set_full(False)
        assert await read(store, container, "o") == b"old"
        assert await world.blob_ids() == set()

    run(scene())


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_a_small_store_needs_its_majority(devices: int) -> None:
    async def scene() -> None:
        world = World(devices=devices)
        store = world.proxy()
        container = await store.create_container("a", "c")
        data = os.urandom(LARGE)
        await store.put_object(container, "o", BytesBody(data), PLAIN)
        spare = (devices - 1) // 2
        for device in world.devices[:spare]:
            device.go_offline()
        await store.put_object(container, "p", BytesBody(data), PLAIN)
        assert await read(store, container, "o") == data
        world.devices[spare].go_offline()
        for attempt in (
            store.put_object(container, "q", BytesBody(data), PLAIN),
            store.open_object(container, "o"),
        ):
            with pytest.raises(Unavailable):
                await attempt
        for device in world.devices:
            device.go_online()
        assert await read(store, container, "o") == data

    run(scene())
