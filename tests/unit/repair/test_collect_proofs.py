"""What the collector must know before it removes a blob, and that nothing keeps it from the others."""

import os
from collections.abc import Callable

import msgspec

from proxy.core.deletion import Deletion
from proxy.core.object_rows import encode
from proxy.core.placement import Placement
from proxy.core.seals import Seals
from proxy.core.shards import upload_name, uploads_shard
from proxy.core.store import CoreStore
from proxy.core.types import CompletedPart, Container, ObjectAttributes, SealHead
from proxy.core.upload_rows import COMPLETING, PARTS_PAGE
from proxy.repair.collect import HINTS_PER_UNIT
from runtime.randomness import SeededRandomness
from storage.contract import BlobReader, DeviceClient, DeviceFault
from storage.faults import Arrive, Direct, FaultyDevice
from storage.types import (
    BlobName,
    Fault,
    Read,
    RowAnswer,
    RowFlag,
    RowMessage,
    Write,
)
from tests.grid import BytesBody, collectors
from tests.property.core.world import World, call_at, run

PLAIN = ObjectAttributes("text/plain")
LARGE = 70_000
NEVER_S = 1e9


class _Unreachable(FaultyDevice):
    """A device whose blobs can't be opened while `silent()`."""

    silent: Callable[[], bool]

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        if self.silent():
            raise DeviceFault(Fault.UNREACHABLE)
        return await super().open_blob(name, deadline)


def test_a_blob_whose_owner_cannot_be_asked_for_stays() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        part = await store.put_part(container, "o", upload.id, 1, BytesBody(os.urandom(LARGE)))
        await store.complete_upload(container, "o", upload.id, [CompletedPart(1, part.etag)])
        await store.delete_object(container, "o")
        silent = True
        clients: dict[int, DeviceClient] = {}
        for device in world.devices:
            wrapped = _Unreachable(device, Direct(), world.clock, call_at)
            wrapped.silent = lambda: silent
            clients[device.device_id] = wrapped
        placement = Placement(world.ring, clients, world.policies)
        collector = collectors(store, placement, world.devices, world.clock, orphan_grace_s=NEVER_S)
        await collector.round()
        assert len(await world.blob_ids()) == 1
        silent = False
        await collector.round()
        assert await world.blob_ids() == set()

    run(scene())


def test_parts_that_a_completion_left_out_go_without_waiting_for_the_walk() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        for number in (1, 2, 3):
            part = await store.put_part(container, "o", upload.id, number, BytesBody(os.urandom(LARGE)))
        await store.complete_upload(container, "o", upload.id, [CompletedPart(3, part.etag)])
        await world.idle()
        await world.collector(store, orphan_grace_s=NEVER_S).round()
        assert await world.blob_ids() == {blob.id for blob in part.blobs}

    run(scene())


def test_a_parts_row_that_an_ended_upload_left_behind_keeps_no_blob() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        await store.put_part(container, "o", upload.id, 1, BytesBody(os.urandom(LARGE)))
        found = await store._upload_rows.find(container, "o", upload.id)
        await store._upload_rows.remove(found)  # as if what followed had been cut off
        assert len(await store._upload_rows.parts(upload.id)) == 1
        await world.collector(store).round()
        assert await world.blob_ids() == set()

    run(scene())


def test_an_upload_cut_off_while_completing_keeps_no_blob_of_a_container_that_is_gone() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        await store.put_part(container, "o", upload.id, 1, BytesBody(os.urandom(LARGE)))
        await store._upload_rows.move(
            await store._upload_rows.find(container, "o", upload.id), COMPLETING
        )
        await world.collector(store).round()
        assert len(await world.blob_ids()) == 1
        await store.delete_container(container)
        await store.create_container("a", "c")
        await world.collector(store).round()
        assert await world.blob_ids() == set()

    run(scene())


async def _with_a_step_that_one_replica_has(world: World, store: CoreStore) -> Container:
    """A container with an upload, whose row can't be settled any more once its shard is sealed."""
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "o", PLAIN)
    await store.put_part(container, "o", upload.id, 1, BytesBody(os.urandom(LARGE)))
    shard, name = uploads_shard(container.head.id), upload_name("o", upload.id)
    head = encode(msgspec.structs.replace(upload, state=COMPLETING))
    step = Write(shard, name, store.rows.new_version(), RowFlag.UNCOUNTED, 0, head)
    first = world.devices[world.row_devices(shard)[0]]
    first.send(step, b"", world.clock.monotonic() + 1, lambda _answer, _payload: None)
    return container


def test_an_upload_cut_off_by_the_seal_keeps_no_blob_of_a_container_that_is_gone() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await _with_a_step_that_one_replica_has(world, store)
        await store.delete_container(container)
        await world.collector(store).round()
        assert await world.blob_ids() == set()

    run(scene())


def test_an_upload_cut_off_by_the_seal_keeps_its_blobs_while_its_container_may_stay() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await _with_a_step_that_one_replica_has(world, store)
        deletion = Deletion(store.rows, world.clock, SeededRandomness(1))
        head = await deletion._begin(container, b"12345678")
        seal = SealHead(head.deletions, head.nonce, container.account, container.name)
        await Seals(store.rows).set(uploads_shard(container.head.id), seal)
        await world.collector(store).round()
        assert len(await world.blob_ids()) == 1

    run(scene())


def test_hints_that_cannot_be_settled_do_not_stand_before_the_others() -> None:
    async def scene() -> None:
        world = World(devices=3)
        store = world.proxy()
        closed = await store.create_container("a", "closed")
        other = await store.create_container("a", "other")
        for _ in range(2 * HINTS_PER_UNIT + 10):
            await store.put_object(closed, "o", BytesBody(os.urandom(LARGE)), PLAIN)
        for _ in range(2):
            await store.put_object(other, "o", BytesBody(os.urandom(LARGE)), PLAIN)
        shards = set(closed.head.layout.all_shards())

        def lose(_device_id: int, message: RowMessage | RowAnswer, _arrive: Arrive) -> bool:
            return type(message) is Read and message.shard in shards

        world.links[0].script = lose
        blobs = len(await world.blob_ids())
        collector = world.collector(store, orphan_grace_s=NEVER_S)
        for _ in range(4):
            await collector.round()
        assert len(await world.blob_ids()) == blobs - 1
        world.links[0].script = None
        for _ in range(4):
            await collector.round()
        assert len(await world.blob_ids()) == 2

    run(scene())


def test_an_upload_with_more_parts_than_a_page_is_swept_whole() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        for number in range(1, PARTS_PAGE + 3):
            await store.put_part(container, "o", upload.id, number, BytesBody(b"x"))
        await store.abort_upload(container, "o", upload.id)
        assert await store._upload_rows.parts(upload.id) == []

    run(scene())
