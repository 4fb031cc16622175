"""What is away from home is moved there, and at no moment is a copy or fragment nowhere."""

import asyncio
import os
from collections.abc import Callable

import msgspec
import pytest

from proxy.core.placement import Placement
from proxy.repair import rebalance
from proxy.repair.contract import Worked
from proxy.repair.rebalance import Rebalancer
from ring.lookup import Ring
from storage.contract import BlobReader, DeviceClient
from storage.fence import Fence, FencedDevice
from storage.types import BlobEntry, BlobName
from tests.grid import POLICIES, BytesBody, throttle
from tests.property.core.world import run
from tests.property.repair.rings import moved, restored
from tests.property.repair.store_world import PLAIN, StoreWorld

KILLS = 30
"""At how many moments the mover is killed."""


async def stocked(seed: int, share: float = 1.0) -> StoreWorld:
    """A world with an object of each policy, whose ring has changed since."""
    world = StoreWorld(seed)
    await world.begin()
    for container in world.containers:
        await put(world, container.name, os.urandom(4) * 100_000)
    world.adopt(moved(world.ring, world.random, share))
    return world


async def put(world: StoreWorld, container: str, data: bytes) -> None:
    (found,) = [c for c in world.containers if c.name == container]
    await world.client.put_object(found, "k0", BytesBody(data), PLAIN)
    world.expected[container, "k0"] = data


def movers(world: StoreWorld, kind: Callable[..., Rebalancer] = Rebalancer) -> list[Rebalancer]:
    """One for each device, over slow links."""
    placement = world.placements[-1]
    pace = throttle(world.clock).pace()
    return [
        kind(placement.devices[number], lambda: world.ring, placement, world.clock, pace)
        for number in placement.devices
    ]


async def to_the_end(worker: Rebalancer) -> None:
    while await worker.work() is not Worked.IDLE:
        continue


def holders(world: StoreWorld) -> dict[tuple[bytes, int], list[int]]:
    found: dict[tuple[bytes, int], list[int]] = {}
    for device in world.devices:
        for key in device._blobs:
            found.setdefault(key, []).append(device.device_id)
    return found


def test_all_is_moved_home_and_nothing_is_left_behind() -> None:
    async def scene() -> None:
        world = await stocked(1)
        before = holders(world)
        made = movers(world)
        for worker in made:
            assert worker.astray.epoch == -1
        await asyncio.gather(*map(to_the_end, made))
        assert holders(world) != before
        assert sum(worker.moved for worker in made) > 0
        assert {(w.astray.epoch, w.astray.blobs, w.astray.size_bytes) for w in made} == {
            (world.ring.epoch, 0, 0)
        }
        await world.check()

    run(scene())


def test_twice_as_many_partitions_move_nothing() -> None:
    async def scene() -> None:
        world = StoreWorld(2)
        await world.begin()
        await put(world, "ec-4-2", b"abcd" * 50_000)
        before = holders(world)
        world.double()
        made = movers(world)
        await asyncio.gather(*map(to_the_end, made))
        assert holders(world) == before
        assert [worker.moved for worker in made] == [0] * len(made)

    run(scene())


class DeletesFirst(Rebalancer):
    """Takes a blob away before its copy is durable."""

    async def _copy(self, home: DeviceClient, reader: BlobReader) -> None:
        await self._delete(BlobEntry(reader.header, reader.size_bytes))
        await super()._copy(home, reader)


class TrustsTheName(Rebalancer):
    """Takes a blob that is only being written for one that is there."""

    async def _check_home(self, home: DeviceClient, mine: BlobReader) -> None:
        return


async def killed_at(moment_s: float, kind: Callable[..., Rebalancer]) -> bool:
    """Kill all movers at an instant; whether every copy and fragment is somewhere."""
    world = await stocked(3)
    before = set(holders(world))
    tasks = [asyncio.ensure_future(to_the_end(worker)) for worker in movers(world, kind)]
    await asyncio.sleep(moment_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    whole = set(holders(world)) == before
    await asyncio.gather(*map(to_the_end, movers(world)))
    if whole:
        await world.check()
    return whole


def outcomes(kind: Callable[..., Rebalancer]) -> set[bool]:
    return {run(killed_at(0.04 * n, kind)) for n in range(KILLS)}


def test_a_mover_killed_at_any_moment_has_lost_nothing_and_is_taken_up() -> None:
    assert outcomes(Rebalancer) == {True}


def test_one_that_deletes_first_is_caught() -> None:
    assert False in outcomes(DeletesFirst)


async def beside_a_writer(kind: Callable[..., Rebalancer]) -> bool:
    """Someone has begun the copy at home and never ends it; whether the blob is still somewhere."""
    world = await stocked(4)
    for (blob_id, number), (holder,) in holders(world).items():
        entry = world.devices[holder]._blobs[blob_id, number]
        policy = entry[0].policy
        home = world.ring.devices(policy, world.ring.partition(blob_id))[number]
        if home != holder:
            await world.devices[home].create_blob(entry[0], 1e18)
    before = set(holders(world))
    for worker in movers(world, kind):
        for _ in range(200):
            if await worker.work() is not Worked.BUSY:
                break
    return set(holders(world)) == before


@pytest.mark.parametrize(("kind", "kept"), [(Rebalancer, True), (TrustsTheName, False)])
def test_what_is_only_being_written_at_home_stays_here(
    kind: Callable[..., Rebalancer], kept: bool
) -> None:
    assert run(beside_a_writer(kind)) is kept


def test_a_home_that_is_away_keeps_the_blob_here_and_is_tried_again() -> None:
    async def scene() -> None:
        world = await stocked(5)
        before = holders(world)
        for device in world.devices:
            device.set_full(True)
        for worker in movers(world):
            ended = Worked.BUSY
            while ended is Worked.BUSY:
                ended = await worker.work()
            status = worker.status()
            assert (ended is Worked.THROTTLED) == (status.counts["moves_failed"] > 0)
            astray = [
                entry.size_bytes
                for entry in await world.devices[int(status.scope[1:])].list_blobs(None, 1000)
                if world.ring.devices(entry.header.policy, world.ring.partition(entry.header.name.id))[
                    entry.header.name.number
                ]
                != int(status.scope[1:])
            ]
            assert worker.astray == (world.ring.epoch, len(astray), sum(astray))
        assert holders(world) == before

    run(scene())


class Undone(Rebalancer):
    """While it copies the ring changes, and the blob's home is where it was before."""

    world: StoreWorld
    former: Ring

    async def _copy(self, home: DeviceClient, reader: BlobReader) -> None:
        await super()._copy(home, reader)
        if self.world.ring.epoch == self.former.epoch + 1:
            self.world.adopt(restored(self.world.ring, self.former))


class Careless(Undone):
    """Does not look at the ring again."""

    def _require_unchanged(self, ring: Ring) -> None:
        return


async def undone(kind: type[Undone]) -> bool:
    """Whether each blob is still where the ring places it again."""
    world = StoreWorld(7)
    await world.begin()
    for container in world.containers:
        await put(world, container.name, b"abcd" * 100_000)
    kind.world, kind.former = world, world.ring
    before = holders(world)
    world.adopt(moved(world.ring, world.random, 1.0))
    for worker in movers(world, kind):
        while world.ring.epoch == kind.former.epoch + 1 and await worker.work() is Worked.BUSY:
            continue
    assert world.ring.epoch == kind.former.epoch + 2
    return all(set(devices) <= set(holders(world)[key]) for key, devices in before.items())


@pytest.mark.parametrize(("kind", "kept"), [(Undone, True), (Careless, False)])
def test_nothing_is_deleted_by_a_ring_that_is_no_longer_the_ring(
    kind: type[Undone], kept: bool
) -> None:
    assert run(undone(kind)) is kept


def test_a_blob_of_no_policy_of_the_ring_is_told_and_waited_for_by_nobody() -> None:
    async def scene() -> None:
        world = await stocked(8)
        (entry, data) = next(iter(world.devices[0]._blobs.values()))
        world.devices[0]._blobs[bytes(16), 0] = (
            msgspec.structs.replace(entry, name=BlobName(bytes(16), 0), policy="forgotten-3"),
            data,
        )
        worker = movers(world)[0]
        await to_the_end(worker)
        assert worker.astray == (world.ring.epoch, 0, 0)
        status = worker.status()
        assert status.counts["blobs_homeless"] == 1
        assert "no policy of the ring" in status.doing
        assert (bytes(16), 0) in world.devices[0]._blobs

    run(scene())


def test_a_seat_of_many_blobs_is_moved_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "PAGE", 3)
    monkeypatch.setattr(rebalance, "MOVES_AT_ONCE", 2)

    async def scene() -> None:
        world = StoreWorld(9)
        await world.begin()
        for number in range(24):
            await world.client.put_object(
                world.containers[0], f"k{number}", BytesBody(b"abcd" * 20_000), PLAIN
            )
            world.expected[world.containers[0].name, f"k{number}"] = b"abcd" * 20_000
        world.adopt(moved(world.ring, world.random, 1.0))
        await asyncio.gather(*map(to_the_end, movers(world)))
        await world.check()

    run(scene())


class Hesitates(Rebalancer):
    """Stops where it knows a blob to be home, until its gate is open."""

    gate: asyncio.Event

    async def _is_home(self, home: DeviceClient, entry: BlobEntry) -> bool:
        found = await super()._is_home(home, entry)
        await self.gate.wait()
        return found


class TrustsAnyEpoch(Hesitates):
    """Does not ask in which epoch the home is."""

    async def _require_arrived(self, home: DeviceClient, ring: Ring) -> None:
        return


class OneDevice:
    """A process that serves one device and knows the ring by itself."""

    def __init__(self, number: int, world: StoreWorld, fences: dict[int, Fence]) -> None:
        self.ring = world.ring
        self._number = number
        self._clock = world.clock
        self._fence = fences[number]
        clients: dict[int, DeviceClient] = {
            n: FencedDevice(world.devices[n], fence) for n, fence in fences.items()
        }
        self._placement = Placement(world.ring, clients, POLICIES)

    def adopt(self, ring: Ring) -> None:
        self.ring = ring
        self._fence.epoch = ring.epoch
        self._placement.adopt(ring)

    def mover(self, kind: type[Hesitates], gate: asyncio.Event) -> Hesitates:
        client, pace = self._placement.devices[self._number], throttle(self._clock).pace()
        made = kind(client, lambda: self.ring, self._placement, self._clock, pace)
        made.gate = gate
        return made


async def while_it_has_work(worker: Rebalancer) -> None:
    while await worker.work() is Worked.BUSY:
        continue


async def taken_back(seed: int, kind: type[Hesitates]) -> bool:
    """The ring goes back while movers are at work, and some processes hear late of it; whether every
    copy is somewhere all the time."""
    world = StoreWorld(seed)
    await world.begin()
    for container in world.containers:
        await put(world, container.name, os.urandom(4) * 100_000)
    before, first = set(holders(world)), world.ring
    world.adopt(moved(first, world.random, 1.0))
    fences = {device.device_id: Fence(world.ring.epoch) for device in world.devices}
    processes = [OneDevice(number, world, fences) for number in fences]
    shut, open_gate = asyncio.Event(), asyncio.Event()
    open_gate.set()
    waiting = [while_it_has_work(process.mover(kind, shut)) for process in processes]
    tasks = [asyncio.ensure_future(work) for work in waiting]
    await asyncio.sleep(60)  # all have copied, and none has deleted
    back = restored(world.ring, first)
    heard = [process for process in processes if world.random.random() < 0.5]
    for process in heard:
        process.adopt(back)
    for process in heard:
        await while_it_has_work(process.mover(kind, open_gate))
    shut.set()
    await asyncio.gather(*tasks)
    whole = set(holders(world)) == before
    for process in processes:
        process.adopt(back)
    for process in processes:
        await while_it_has_work(process.mover(kind, open_gate))
    return whole and set(holders(world)) == before


@pytest.mark.parametrize(("kind", "kept"), [(Hesitates, True), (TrustsAnyEpoch, False)])
def test_two_processes_in_different_epochs_do_not_both_delete(
    kind: type[Hesitates], kept: bool
) -> None:
    assert all(run(taken_back(seed, kind)) for seed in range(6)) is kept
