"""What a read or a write found missing or damaged is made anew, byte for byte."""

import os

import pytest

from proxy.core.owners import Owners
from proxy.core.store import CoreStore
from proxy.core.types import Blob, Container, ObjectAttributes
from proxy.repair.mend import Mending
from ring.errors import UnknownPlacement
from storage.types import BlobName
from tests.grid import BytesBody, Grid, Rounds, throttle, whole

PLAIN = ObjectAttributes("text/plain")
SIZE = 2_500_000


def mending_of(grid: Grid, store: CoreStore) -> Mending:
    return Mending(store.mender, Owners(store.rows), grid.clock, throttle(grid.clock).pace())


async def read(store: CoreStore, container: Container) -> bytes:
    opened = await store.open_object(container, "o")
    try:
        return await whole(opened.stream(0, opened.info.head.size_bytes))
    finally:
        opened.close()


async def copies(grid: Grid) -> dict[int, tuple[int, bytes]]:
    """Device and bytes of every copy or fragment by its number."""
    found = {}
    for device in grid.devices:
        for entry in await device.list_blobs(None, 10):
            reader = await device.open_blob(entry.header.name, 1e18)
            views = await reader.read(0, reader.size_bytes)
            found[entry.header.name.number] = (device.device_id, b"".join(views))
            assert reader.header == entry.header
    return found


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
@pytest.mark.parametrize("damage", ["deleted", "corrupt"])
async def test_what_a_read_turned_away_from_is_made_anew(policy: str, damage: str) -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c", policy=policy)
    data = os.urandom(SIZE)
    await store.put_object(container, "o", BytesBody(data), PLAIN)
    before = await copies(grid)
    blob_id = (await grid.devices[before[0][0]].list_blobs(None, 1))[0].header.name.id
    lost = [0] if policy == "replicated-3" else [0, 3]
    for number in lost:
        device = grid.devices[before[number][0]]
        name = BlobName(blob_id, number)
        if damage == "deleted":
            await device.delete_blob(name, 1e18)
        else:
            device.corrupt_blob(name)
    assert await read(store, container) == data
    assert len(store.mender) == len(lost)
    await store.mender.round()
    assert store.mender.mended == len(lost)
    assert await copies(grid) == before


async def test_what_a_device_could_not_take_comes_later() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c", policy="ec-4-2")
    grid.devices[2].set_full(True)
    data = os.urandom(SIZE)
    await store.put_object(container, "o", BytesBody(data), PLAIN)
    assert len(await copies(grid)) == 5
    await store.mender.round()
    assert len(store.mender) == 1  # it still has no room
    grid.devices[2].set_full(False)
    await store.mender.round()
    assert len(store.mender) == 0
    assert len(await copies(grid)) == 6
    assert await read(store, container) == data


async def test_a_new_loss_does_not_wait_for_those_that_could_not_be_mended() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c", policy="ec-4-2")
    data = os.urandom(SIZE)
    grid.devices[2].set_full(True)
    store.mender.settle_s = 0.0
    mending = Rounds([mending_of(grid, store)])
    await store.put_object(container, "o", BytesBody(data), PLAIN)
    mended = await copies(grid)
    await mending.round()  # its device has no room
    number, (holder, _) = next(iter(sorted(mended.items())))
    (entry,) = await grid.devices[holder].list_blobs(None, 2)
    assert entry.header.name.number == number
    await grid.devices[holder].delete_blob(entry.header.name, 1e18)
    assert await read(store, container) == data
    await mending.round()
    assert await copies(grid) == mended
    assert len(store.mender) == 1


async def test_what_was_deleted_meanwhile_does_not_come_back() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    await store.put_object(container, "o", BytesBody(os.urandom(SIZE)), PLAIN)
    before = await copies(grid)
    (entry,) = await grid.devices[before[0][0]].list_blobs(None, 1)
    await grid.devices[before[0][0]].delete_blob(entry.header.name, 1e18)
    await read(store, container)
    assert len(store.mender) == 1
    store.mender.settle_s = 0.0
    await store.delete_object(container, "o")  # its other copies wait for the collector
    for lost in list(store.mender._queue):
        assert not await store.mender.try_mend(lost, mending_of(grid, store)._wanted)
    assert len(store.mender) == 0
    assert sorted(await copies(grid)) == [1, 2]


async def test_a_loss_that_can_only_fail_does_not_keep_the_others_waiting() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    store.mender.settle_s = 0.0
    data = os.urandom(SIZE)
    await store.put_object(container, "o", BytesBody(data), PLAIN)
    before = await copies(grid)
    store.mender.lost(Blob(bytes(16), 5, "a policy of another release"), 0)
    (entry,) = await grid.devices[before[0][0]].list_blobs(None, 1)
    await grid.devices[before[0][0]].delete_blob(entry.header.name, 1e18)
    assert await read(store, container) == data
    mending = mending_of(grid, store)
    with pytest.raises(UnknownPlacement):
        await mending.work()
    await mending.work()
    assert await copies(grid) == before
    assert len(store.mender) == 1
