"""The collector removes what no row names, and nothing else."""

import asyncio
import os

from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import CompletedPart, ObjectAttributes
from tests.grid import POLICIES, BytesBody, Grid, Rounds, collectors, whole

PLAIN = ObjectAttributes("text/plain")
LARGE = 200_000


def collector(grid: Grid, store: CoreStore, *, orphan_grace_s: float = 1e9) -> Rounds:
    placement = Placement(grid.ring, dict(enumerate(grid.devices)), POLICIES)
    return collectors(store, placement, grid.devices, grid.clock, orphan_grace_s=orphan_grace_s)


async def blob_ids(grid: Grid) -> set[bytes]:
    return {e.header.name.id for d in grid.devices for e in await d.list_blobs(None, 1000)}


async def read(store: CoreStore, account: str, name: str) -> bytes:
    container = await store.container(account, "c")
    opened = await store.open_object(container, name)
    return await whole(opened.stream(0, opened.info.head.size_bytes))


async def test_replaced_and_deleted_blobs_go_and_living_ones_stay() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    last = os.urandom(LARGE)
    for data in (os.urandom(LARGE), os.urandom(LARGE), last):
        await store.put_object(container, "o", BytesBody(data), PLAIN)
    await store.put_object(container, "p", BytesBody(os.urandom(LARGE)), PLAIN)
    await store.update_object(container, "o", ObjectAttributes("text/other"))
    await store.delete_object(container, "p")
    assert len(await blob_ids(grid)) == 4
    await collector(grid, store).round()
    assert len(await blob_ids(grid)) == 1
    assert await read(store, "a", "o") == last
    for device in grid.devices:
        assert await device.list_garbage(0, 10) == []


async def test_parts_that_were_taken_over_stay_and_replaced_parts_go() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "big", PLAIN)
    await store.put_part(container, "big", upload.id, 1, BytesBody(os.urandom(LARGE)))
    datas = [os.urandom(LARGE), os.urandom(LARGE)]
    parts = []
    for number, data in enumerate(datas, 1):
        head = await store.put_part(container, "big", upload.id, number, BytesBody(data))
        parts.append(CompletedPart(number, head.etag))
    await collector(grid, store, orphan_grace_s=0.0).round()
    assert len(await blob_ids(grid)) == 2
    await store.complete_upload(container, "big", upload.id, parts)
    await asyncio.sleep(0)
    for _ in range(3):
        await collector(grid, store, orphan_grace_s=0.0).round()
    assert await read(store, "a", "big") == b"".join(datas)


async def test_orphans_go_only_after_their_grace_and_only_with_a_proof() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    await store.put_object(container, "o", BytesBody(os.urandom(LARGE)), PLAIN)
    taken = await store.objects.take(container, "o", "replicated-3", BytesBody(b"z" * LARGE), "")
    await collector(grid, store).round()
    assert len(await blob_ids(grid)) == 2
    for device in grid.devices[:5]:
        device.go_offline()  # no row can be read by quorum: nothing is proven
    await collector(grid, store, orphan_grace_s=0.0).round()
    for device in grid.devices[:5]:
        device.go_online()
    assert len(await blob_ids(grid)) == 2
    await collector(grid, store, orphan_grace_s=0.0).round()
    left = await blob_ids(grid)
    assert len(left) == 1
    assert taken.blobs[0].id not in left


async def test_a_deleted_container_gives_its_blobs_up() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    await store.put_object(container, "o", BytesBody(os.urandom(LARGE)), PLAIN)
    await store.delete_object(container, "o")
    await store.delete_container(container)
    await collector(grid, store).round()
    assert await blob_ids(grid) == set()
