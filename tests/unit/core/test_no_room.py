"""Rows of shards whose replicas are full, in part or all of them."""

import asyncio

import pytest

from proxy.core.errors import Full, Unavailable
from proxy.core.rows import NO_ROOM_S
from proxy.core.store import CoreStore
from proxy.core.types import Container, ListQuery, ObjectAttributes
from storage.types import Write
from tests.grid import BytesBody, whole
from tests.property.core.world import World, run

PLAIN = ObjectAttributes("text/plain")
QUERY = ListQuery()


async def put(store: CoreStore, container: Container, name: str, data: bytes) -> None:
    await store.put_object(container, name, BytesBody(data), PLAIN)


async def get(store: CoreStore, container: Container, name: str) -> bytes:
    opened = await store.open_object(container, name)
    return await whole(opened.stream(0, opened.info.head.size_bytes))


def replicas(world: World, container: Container, name: str) -> tuple[int, ...]:
    shard = container.head.layout.shard_of(name.encode())
    return world.row_devices(shard)


def test_a_row_that_one_replica_had_room_for_can_be_read() -> None:
    async def scene() -> None:
        world = World()
        writer, reader = world.proxy(), world.proxy()
        container = await writer.create_container("a", "c")
        await put(writer, container, "o", b"old")
        for device in replicas(world, container, "o")[1:]:
            world.devices[device].set_full(True)
        with pytest.raises(Unavailable):
            await put(writer, container, "o", b"new")
        assert await get(reader, container, "o") == b"new"
        assert await get(reader, container, "o") == b"new"
        page = await reader.list_objects(container, QUERY)
        assert [getattr(entry, "name", "") for entry in page.entries] == ["o"]

    run(scene())


def test_where_most_replicas_were_full_just_now_no_row_is_left_on_the_others() -> None:
    async def scene() -> None:
        world = World()
        writer = world.proxy()
        container = await writer.create_container("a", "c")
        _, *others = replicas(world, container, "o")
        for device in others:
            world.devices[device].set_full(True)
        with pytest.raises(Unavailable):
            await put(writer, container, "o", b"unknown")
        asked: list[object] = []

        def watch(device_id: int, message: object, arrive: object) -> bool:
            asked.append(message)
            return False

        world.links[0].script = watch
        with pytest.raises(Full):
            await put(writer, container, "o", b"refused")
        assert not [message for message in asked if type(message) is Write]
        await writer.delete_object(container, "o")
        await asyncio.sleep(NO_ROOM_S)
        for device in others:
            world.devices[device].set_full(False)
        await put(writer, container, "o", b"there is room")
        assert await get(writer, container, "o") == b"there is room"

    run(scene())
