"""The workers find by themselves what is to do: shards that have grown, and work left half way."""

import asyncio
import itertools

import pytest

from proxy.core.errors import Unavailable
from proxy.core.placement import Placement
from proxy.core.resharding import Resharding, asked, patience_s, switched
from proxy.core.types import ContainerHead, Reshard
from proxy.repair.container_walk import ContainerWalk
from proxy.repair.contract import Worked
from proxy.repair.reshard import FAILURES_MAX, TURN_S, Resharder
from proxy.repair.shard_move import Moved, ShardMove
from runtime.randomness import SeededRandomness
from tests.grid import BytesBody, throttle
from tests.property.core.test_histories import PLAIN, seen_by
from tests.property.core.test_reshard import Mover, ask
from tests.property.core.world import World, run

HEAD = ContainerHead(bytes(16), 0, "replicated-3", 4)


def worker(world: World, owned: list[int], rows_max: int) -> Resharder:
    store = world.proxy()
    placement = Placement(world.ring, dict(enumerate(world.devices)), world.policies)
    steps = Resharding(store.rows, world.clock, SeededRandomness(world.random.getrandbits(64)))
    walk = ContainerWalk(placement, owned, world.clock)
    pace = throttle(world.clock).pace()
    return Resharder(store.rows, steps, walk, world.clock, pace, rows_max)


async def round_of(resharder: Resharder) -> None:
    while await resharder.work() is not Worked.IDLE:
        await asyncio.sleep(0)


def test_a_container_that_has_grown_gets_more_shards_until_they_are_small() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        for number in range(200):
            await store.put_object(container, f"o{number}", BytesBody(b"x"), PLAIN)
        before = await seen_by(store, container)
        resharder = worker(world, [device.device_id for device in world.devices], rows_max=20)
        for _ in range(4):
            await round_of(resharder)
        present = await world.proxy().container("a", "c")
        assert present.head.shards == 16
        counts = [await store.rows.count(shard) for shard in present.head.layout.all_shards()]
        assert max(count.rows for count in counts) <= 20
        assert sum(count.rows for count in counts) == 200
        assert await seen_by(store, container) == before
        assert (await store.container_stat(container)).objects == 200  # from what it remembers
        assert resharder.status().counts["shards_moved"] == 4 + 8

    run(scene())


def test_what_was_left_half_way_is_carried_on_by_whoever_holds_the_row() -> None:
    """The first replica's process is gone: the next one's waits its turn."""

    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        await store.put_object(container, "o", BytesBody(b"x"), PLAIN)
        mover = Mover(world, container)
        await ask(mover, 8)
        second = world.row_devices(mover.row.shard)[1]
        resharder = worker(world, [second], rows_max=1000)
        await round_of(resharder)
        await round_of(resharder)
        assert (await mover.steps.read(mover.row)).reshard is not None
        await asyncio.sleep(TURN_S + 1)
        await round_of(resharder)
        head = await mover.steps.read(mover.row)
        assert (head.shards, head.generation, head.reshard) == (8, 1, None)
        assert list(await seen_by(store, container)) == ["o"]

    run(scene())


def test_steps_of_the_row() -> None:
    head = asked(HEAD, 16, 5)
    assert head.reshard == Reshard(16, 5)
    layouts = [head.layout]
    while head.reshard is not None:
        head = switched(head)
        layouts.append(head.layout)
    assert (head.shards, head.generation) == (16, 2)
    assert len(layouts) == 1 + 4 + 8
    for older, newer in itertools.pairwise(layouts):
        for key in older.all_shards():
            for name in (b"%d" % number for number in range(100)):
                if older.shard_of(name) == key:
                    assert newer.shard_of(name) in newer.successors(key)
    names = [b"%d" % number for number in range(500)]
    for layout in layouts:
        assert {layout.shard_of(name) for name in names} <= set(layout.all_shards())
        assert len(set(layout.all_shards())) == len(layout.all_shards())


def test_who_waits_is_more_patient_each_time_and_never_beyond_a_deadline() -> None:
    waits = [patience_s(Reshard(8, 0, tries=tries)) for tries in range(40)]
    assert waits == sorted(waits)
    assert waits[1] == 1.0
    assert max(waits) == 8.0


class Stuck(ShardMove):
    """Its shard has no majority."""

    async def step(self) -> Moved:
        raise Unavailable("no majority")


def test_a_move_that_can_only_fail_does_not_keep_other_containers_waiting() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        movers = [Mover(world, await store.create_container("a", name)) for name in ("c", "d")]
        resharder = worker(world, [device.device_id for device in world.devices], rows_max=1000)
        for mover in movers:
            await ask(mover, 8)
            resharder.ask(mover.row)
        await resharder.work()
        assert resharder._move is not None
        resharder._move = Stuck(
            store.rows,
            movers[0].steps,
            movers[0].row,
            resharder._move.layout,
            world.clock.monotonic,
        )
        for _ in range(FAILURES_MAX):
            with pytest.raises(Unavailable):
                await resharder.work()
        for _ in range(3):
            await round_of(resharder)
        for mover in movers:  # the first one's turn comes again
            assert (await mover.steps.read(mover.row)).shards == 8

    run(scene())


def test_many_containers_are_looked_at_no_faster_than_the_pace_allows() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        for number in range(12):
            await store.create_container("a", f"c{number}")
        resharder = worker(world, [device.device_id for device in world.devices], rows_max=1000)
        resharder.pace.bytes_s = 1.0
        begun = asyncio.get_running_loop().time()
        await round_of(resharder)
        assert asyncio.get_running_loop().time() - begun >= 10.0  # one in a second, two at once

    run(scene())
