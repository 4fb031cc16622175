"""What a device lacks is made anew from the others: all of it, and nothing that no row names."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.blobs import Blobs, Owner
from proxy.core.owners import Named, Owners
from proxy.core.types import Blob, CompletedPart
from proxy.repair import rebuild
from proxy.repair.contract import Worked
from proxy.repair.rebuild import COPIES_AT_ONCE, Rebuilder
from runtime.randomness import SeededRandomness
from tests.grid import BytesBody, throttle
from tests.property.core.world import run
from tests.property.repair.store_world import PLAIN, StoreWorld

DATA = b"wxyz" * 50_000


def rebuilder(
    world: StoreWorld, device_id: int, kind: Callable[..., Rebuilder] = Rebuilder
) -> Rebuilder:
    store = world.proxy()
    placement = world.placements[-1]
    blobs = Blobs(placement, world.clock, SeededRandomness(1))
    return kind(
        placement.devices[device_id],
        lambda: world.ring,
        placement,
        blobs,
        Owners(store.rows),
        world.clock,
        throttle(world.clock).pace(),
        0.0,
    )


async def to_the_end(worker: Rebuilder) -> Worked:
    while (ended := await worker.work()) is Worked.BUSY:
        continue
    return ended


async def stocked(seed: int, objects: int = 10) -> StoreWorld:
    world = StoreWorld(seed)
    await world.begin()
    for container in world.containers:
        for number in range(objects):
            await world.client.put_object(container, f"k{number}", BytesBody(DATA), PLAIN)
            world.expected[container.name, f"k{number}"] = DATA
    await asyncio.sleep(1)
    return world


def test_a_wiped_device_gets_all_back_and_tells_how_far_it_is() -> None:
    async def scene() -> None:
        world = await stocked(1)
        lost = world.devices[2]
        held = dict(lost._blobs)
        lost._blobs.clear()
        worker = rebuilder(world, 2)
        lefts = []
        while await worker.work() is Worked.BUSY:
            status = worker.status()
            lefts.append(status.left or 0)
            assert (status.done or 0) + (status.left or 0) <= len(held)
        assert max(lefts) == len(held)
        assert (lefts[-1], worker.rebuilt) == (0, len(held))
        assert worker.status().done_bytes == sum(len(data) for _, data in held.values())
        assert lost._blobs == held
        await world.check()

    run(scene())


class Gullible(Rebuilder):
    """Makes everything that another device has."""

    async def _try_prove(self, owner: Owner) -> Named | None:
        every = {one.entry.header.name.id for one in self._asked}
        return Named({blob_id: Blob(blob_id, len(DATA), "replicated-3") for blob_id in every})

    async def _list(self, *arguments: Any) -> None:
        await super()._list(*arguments)
        self._asked = list(self._missing)


@pytest.mark.parametrize(("kind", "comes_back"), [(Rebuilder, False), (Gullible, True)])
def test_what_no_row_names_is_not_made(kind: Callable[..., Rebuilder], comes_back: bool) -> None:
    """A deletion that has not reached all devices yet."""

    async def scene() -> int:
        world = await stocked(2, objects=1)
        container = world.containers[0]
        (blob,) = await world.blobs_of(world.client, container, "k0")
        await world.client.delete_object(container, "k0")
        homes = world.ring.devices(blob.policy, world.ring.partition(blob.id))
        del world.devices[homes[1]]._blobs[blob.id, 1]
        worker = rebuilder(world, homes[1], kind)
        await to_the_end(worker)
        assert ((blob.id, 1) in world.devices[homes[1]]._blobs) is comes_back
        return worker.status().counts["blobs_unnamed"]

    assert run(scene()) == (0 if comes_back else 1)


def test_a_proof_that_cannot_be_had_now_leaves_the_blob_for_later() -> None:
    async def scene() -> None:
        world = await stocked(3, objects=3)
        lost = world.devices[4]
        held = dict(lost._blobs)
        lost._blobs.clear()
        worker = rebuilder(world, 4)
        world.links[-1].script = lambda *_: True  # no row is to be read
        assert await to_the_end(worker) is Worked.THROTTLED
        assert lost._blobs == {}
        assert worker.status().counts["rebuilds_failed"] == len(held)
        world.links[-1].script = None
        assert await to_the_end(worker) is Worked.IDLE
        assert lost._blobs == held

    run(scene())


def test_parts_of_an_open_upload_are_made_too() -> None:
    async def scene() -> None:
        world = StoreWorld(5)
        await world.begin()
        container = world.containers[1]
        upload = await world.client.create_upload(container, "big", PLAIN)
        head = await world.client.put_part(container, "big", upload.id, 1, BytesBody(DATA))
        await asyncio.sleep(1)
        for device in world.devices:
            held = dict(device._blobs)
            device._blobs.clear()
            await to_the_end(rebuilder(world, device.device_id))
            assert device._blobs == held
        await world.client.complete_upload(container, "big", upload.id, [CompletedPart(1, head.etag)])
        assert await world.shown(world.client, container, "big") == DATA

    run(scene())


def test_what_the_former_home_still_has_is_left_to_it() -> None:
    async def scene() -> None:
        world = await stocked(6)
        world.change_ring()
        made = [rebuilder(world, device.device_id) for device in world.devices]
        for worker in made:
            assert await to_the_end(worker) is Worked.IDLE
            assert worker.rebuilt == 0

    run(scene())


def test_only_so_many_copies_are_under_way_at_once() -> None:
    class Counting(Rebuilder):
        now = most = 0

        async def _make(self, one: Any, blob: Blob) -> None:
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            await super()._make(one, blob)
            Counting.now -= 1

    async def scene() -> None:
        world = await stocked(7)
        world.devices[0]._blobs.clear()
        await to_the_end(rebuilder(world, 0, Counting))

    run(scene())
    assert Counting.most == COPIES_AT_ONCE


def test_many_that_cannot_be_made_keep_neither_the_others_nor_the_rounds_end_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than are noted at a time, and the one that a row names comes behind them."""
    monkeypatch.setattr(rebuild, "LACKING_MAX", 1)

    async def scene() -> None:
        world = await stocked(8)
        lost = world.devices[3]
        held = dict(lost._blobs)
        last = max(held)
        lost._blobs.clear()

        class Doubting(Rebuilder):
            async def _try_prove(self, owner: Owner) -> Named | None:
                named = await super()._try_prove(owner)
                return named if named is not None and last[0] in named.blobs else None

        worker = rebuilder(world, 3, Doubting)
        for _ in range(1000):
            if (ended := await worker.work()) is not Worked.BUSY:
                break
        assert ended is Worked.THROTTLED
        assert lost._blobs == {last: held[last]}
        assert worker.status().counts["rebuilds_failed"] >= len(held) - 1

    run(scene())
