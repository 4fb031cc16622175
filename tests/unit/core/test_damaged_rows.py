"""Rows whose newest copy is damaged: what can be told is told, what can't be yet is not called lost."""

import asyncio

import pytest

from proxy.core.errors import Damaged, Unavailable
from proxy.core.register import Value
from proxy.core.store import CoreStore
from storage.faults import Arrive
from storage.types import SEAL_NAME, RowAnswer, RowFlag, RowMessage, Want, Write
from tests.property.core.world import World, run

SHARD, NAME = b"o" + bytes(18), b"row"


def _value(payload: bytes) -> Value:
    return Value(0, len(payload), b"head", payload)


async def _written_on_one(world: World, store: CoreStore, member: int) -> None:
    """An acknowledged value, and over it one that only one replica has, damaged."""
    await store.rows.write(SHARD, NAME, _value(b"old"))
    await asyncio.sleep(1.0)

    def only_to_one(device_id: int, message: RowMessage | RowAnswer, _arrive: Arrive) -> bool:
        return type(message) is Write and device_id != member

    link = world.links[0]
    link.script = only_to_one
    with pytest.raises(Unavailable):
        await store.rows.write(SHARD, NAME, _value(b"new"))
    link.script = None
    world.devices[member].corrupt_row(SHARD, NAME)


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("want", [Want.VERSION, Want.PAYLOAD])
def test_a_write_that_only_a_damaged_copy_has_never_happened(position: int, want: int) -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        await _written_on_one(world, store, world.row_devices(SHARD)[position])
        first = await store.rows.read(SHARD, NAME, want)
        again = await store.rows.read(SHARD, NAME)
        assert again.value.payload == b"old"
        assert first.version == again.version
        await store.rows.write(SHARD, NAME, _value(b"newest"))
        assert (await store.rows.read(SHARD, NAME)).value.payload == b"newest"

    run(scene())


@pytest.mark.parametrize(("damaged", "quiet"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_a_copy_that_a_silent_replica_may_have_is_not_lost(damaged: int, quiet: int) -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        members = world.row_devices(SHARD)
        await _written_on_one(world, store, members[damaged])

        def silent(device_id: int, _message: RowMessage | RowAnswer, _arrive: Arrive) -> bool:
            return device_id == members[quiet]

        world.links[0].script = silent
        with pytest.raises(Unavailable):
            await store.rows.read(SHARD, NAME)
        world.links[0].script = None
        for member in members:
            world.devices[member].corrupt_row(SHARD, NAME)
        with pytest.raises(Damaged):
            await store.rows.read(SHARD, NAME)

    run(scene())


def test_a_row_of_which_one_copy_is_damaged_is_not_called_lost_where_another_is_sealed() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        await store.rows.write(SHARD, NAME, _value(b"old"))
        await asyncio.sleep(1.0)
        first, second, _ = world.row_devices(SHARD)
        world.devices[first].corrupt_row(SHARD, NAME)
        seal = Write(SHARD, SEAL_NAME, store.rows.new_version(), RowFlag.UNCOUNTED, 0, b"seal")
        world.devices[second].send(seal, b"", 1e9, lambda _answer, _payload: None)
        with pytest.raises(Unavailable):
            await store.rows.update(SHARD, NAME, lambda _row: _value(b"new"))

    run(scene())
