"""Updates that promised much and never came must not keep readers from a row."""

import asyncio

import pytest

from proxy.core.errors import Unavailable
from proxy.core.register import Value, Versioned
from proxy.core.store import CoreStore
from storage.faults import Arrive
from storage.types import Accept, RowAnswer, RowMessage
from tests.property.core.world import World, run

SHARD, NAME = b"o" + bytes(18), b"row"


def _value(payload: bytes) -> Value:
    return Value(0, 0, payload, payload)


async def _update(store: CoreStore, payload: bytes) -> None:
    def decide(_row: Versioned) -> Value:
        return _value(payload)

    await store.rows.update(SHARD, NAME, decide)


@pytest.mark.parametrize("down", [None, 0, 1, 2])
def test_a_row_whose_newest_version_too_many_have_promised_away_is_read(down: int | None) -> None:
    async def scene() -> None:
        world = World()
        first, second, reader = world.proxy(), world.proxy(), world.proxy()
        members = world.row_devices(SHARD)
        await first.rows.write(SHARD, NAME, _value(b"old"))

        def only_to_one(device_id: int, message: RowMessage | RowAnswer, _arrive: Arrive) -> bool:
            return type(message) is Accept and device_id != members[0]

        def to_none(_device_id: int, message: RowMessage | RowAnswer, _arrive: Arrive) -> bool:
            return type(message) is Accept

        world.links[0].script, world.links[1].script = only_to_one, to_none
        with pytest.raises(Unavailable):
            await _update(first, b"new")
        world.wires[1][members[0]].cut()  # the second one's promises are from the others alone
        with pytest.raises(Unavailable):
            await _update(second, b"newer")
        if down is not None:
            world.devices[members[down]].go_offline()
        begun = asyncio.get_running_loop().time()
        seen = (await reader.rows.read(SHARD, NAME)).value.payload
        assert seen in ({b"old", b"new"} if down in (0, None) else {b"new"})
        assert asyncio.get_running_loop().time() - begun < 1.0
        if down is not None:
            world.devices[members[down]].go_online()
        again = (await reader.rows.read(SHARD, NAME)).value.payload
        assert seen in {again, b"old"}

    run(scene())
