"""A container's policy changes, twice, while clients write and read it: every key stays a register, and
at the end all objects have the policy that was asked for last, and no old blob is left."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

from proxy.core.errors import Damaged, Full, Unavailable
from proxy.core.placement import Placement
from proxy.core.register import Value, Versioned
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.types import CompletedPart, Container, ContainerHead, ListQuery, ObjectInfo, Policy
from proxy.repair.container_walk import ContainerWalk
from proxy.repair.contract import Worked
from proxy.repair.repolicy import BLOCKED_S, Repolicier, begun
from proxy.repair.rewrite import Rewriter, Rewritten, Spend
from runtime.randomness import SeededRandomness
from tests.grid import BytesBody, throttle, whole
from tests.property.core.test_histories import (
    PLAIN,
    Client,
    History,
    calm,
    disturb,
    everything_can_be_read,
    nothing_is_left,
)
from tests.property.core.test_reshard import Mover, container_row, keep_killing
from tests.property.core.test_reshard import ask as ask_for_shards
from tests.property.core.world import World, run
from tests.property.register.linearizability import linearizable

CLIENTS = 3


class Rewriting:
    """A worker over a proxy of its own, and the container that it works on."""

    def __init__(self, world: World, container: Container) -> None:
        self.row = container_row(container)
        self.over = False
        self._now_ns = world.clock.now_ns
        store = world.proxy()
        randomness = SeededRandomness(world.random.getrandbits(64))
        self.steps = Resharding(store.rows, world.clock, randomness)
        clients: dict[int, Any] = {device.device_id: device for device in world.devices}
        walk = ContainerWalk(Placement(world.ring, clients, world.policies), clients, world.clock)
        self.worker = Repolicier(
            store.rows,
            self.steps,
            Rewriter(store.rows, self.steps, store.blobs, randomness),
            world.policies.__getitem__,
            walk,
            world.clock,
            throttle(world.clock).pace(),
        )

    async def ask(self, policy: str) -> None:
        now_ns = self._now_ns()

        def change(head: ContainerHead) -> ContainerHead:
            return begun(head, policy, now_ns)

        while True:
            try:
                await self.steps.update(self.row, change)
            except Unavailable:
                continue
            return

    async def work(self) -> None:
        """Until the container's row says that it is done."""
        while not self.over:
            try:
                worked = await self.worker.work()
                self.over = (await self.steps.read(self.row)).repolicy is None
            except (Unavailable, Full):
                worked = Worked.IDLE
            await asyncio.sleep(5.0 if worked is Worked.IDLE else 0.01)


async def policies_of(world: World, container: Container) -> set[str]:
    """Those of all blobs that objects name, and what their heads say."""
    store = world.proxy()
    found = set()
    for entry in (await store.list_objects(container, ListQuery())).entries:
        assert isinstance(entry, ObjectInfo)
        opened = await store.open_object(container, entry.name)
        blobs = [blob for part in opened.parts for blob in part.blobs]
        found |= {blob.policy for blob in blobs} | ({entry.head.policy} if blobs else set())
        opened.close()
    return found


async def scene(seed: int) -> None:
    world = World(seed)
    history = History()
    container = await world.proxy().create_container("a", "c")
    clients = [Client(number, world, history, container) for number in range(CLIENTS)]
    rewriters = [Rewriting(world, container) for _ in range(1 + seed % 2)]
    disturbance = asyncio.ensure_future(disturb(world))
    others = []

    async def change() -> None:
        await asyncio.sleep(world.random.uniform(0, 0.2))
        if seed % 3 == 0:
            await rewriters[0].ask("replicated-3")

    await rewriters[0].ask("ec-4-2")
    changing = asyncio.ensure_future(change())
    if seed % 4 == 0:
        mover = Mover(world, container)
        await ask_for_shards(mover, 8)
        others.append(asyncio.ensure_future(keep_killing(world, mover)))
    killed = [asyncio.ensure_future(keep_killing(world, each)) for each in rewriters]
    await asyncio.gather(*(client.work() for client in clients))
    disturbance.cancel()
    calm(world)
    await asyncio.gather(changing, *killed, *others)
    await everything_can_be_read(world, history, container)
    for key, events in history.events.items():
        assert linearizable(events), (key, sorted(events))
    wanted = "replicated-3" if seed % 3 == 0 else "ec-4-2"
    assert await policies_of(world, container) <= {wanted}
    await nothing_is_left(world, container)


@pytest.mark.parametrize("seed", range(24))
def test_every_key_is_a_register_while_its_policy_changes(seed: int) -> None:
    run(scene(seed))


class _Blind(Rewriter):
    """Replaces the row whatever it is by now."""

    async def _replace(
        self, container: ContainerRow, name: bytes, seen: Versioned, value: Value
    ) -> None:
        shard = (await self._containers.read(container)).layout.shard_of(name)
        await self._rows.write(shard, name, value)


def test_a_row_replaced_whatever_it_is_by_now_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.property.core.test_repolicy.Rewriter", _Blind)
    for seed in range(60):
        try:
            run(scene(seed))
        except (AssertionError, Damaged):
            return
    pytest.fail("nobody noticed")


def test_large_objects_change_a_few_blobs_at_a_time_and_keep_what_is_said_of_them() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        data = random.Random(7).randbytes(3_000_000)
        await store.put_object(container, "plain", BytesBody(data), PLAIN, md5="")
        upload = await store.create_upload(container, "parts", PLAIN)
        parts = []
        for number in range(1, 10):
            part = await store.put_part(container, "parts", upload.id, number, BytesBody(data[:70_000]))
            parts.append(CompletedPart(number, part.etag))
        await store.complete_upload(container, "parts", upload.id, parts)
        before = [await store.head_object(container, name) for name in ("plain", "parts")]
        reader = await store.open_object(container, "plain")
        rewriting = Rewriting(world, container)
        await rewriting.ask("ec-4-2")
        await rewriting.work()
        for old in before:
            new = await store.head_object(container, old.name)
            assert new.version[:16] == old.version[:16]
            assert (new.head.etag, new.head.modified_ns) == (old.head.etag, old.head.modified_ns)
            assert new.head.policy == "ec-4-2"
        assert await policies_of(world, container) == {"ec-4-2"}
        assert await whole(reader.stream(0, len(data))) == data  # of before: its blobs have a grace
        reader.close()
        opened = await store.open_object(container, "parts")
        assert await whole(opened.stream(0, 9 * 70_000)) == data[:70_000] * 9
        opened.close()
        await nothing_is_left(world, container)

    run(scene())


def test_bytes_that_are_not_what_the_etag_says_stay_where_they_are() -> None:
    """A blob that passes its checksums and is not what was stored must not be laundered."""

    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        await store.put_object(container, "o", BytesBody(b"x" * 100_000), PLAIN)
        for device in world.devices:
            for key, (header, data) in list(device._blobs.items()):
                device._blobs[key] = (header, b"y" * len(data))
        rewriting = Rewriting(world, container)
        await rewriting.ask("ec-4-2")
        for _ in range(20):
            await rewriting.worker.work()
        assert await policies_of(world, container) == {"replicated-3"}
        assert rewriting.worker.status().counts["objects_not_rewritten"] > 0
        assert (await rewriting.steps.read(rewriting.row)).repolicy is not None

    run(scene())


def test_what_stands_in_the_way_of_the_last_pass_is_not_looked_for_all_the_time() -> None:
    """An upload that stays open under the old policy, and an object that can't be read."""

    async def scene(*, damaged: bool) -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        await store.put_object(container, "o", BytesBody(b"x" * 100_000), PLAIN)
        upload = await store.create_upload(container, "u", PLAIN)
        if damaged:
            await store.abort_upload(container, "u", upload.id)
            for device in world.devices:
                for key, (header, data) in list(device._blobs.items()):
                    device._blobs[key] = (header, b"y" * len(data))
        rewriting = Rewriting(world, container)
        await rewriting.ask("ec-4-2")
        working = asyncio.ensure_future(rewriting.work())
        await asyncio.sleep(3 * BLOCKED_S)
        present = (await rewriting.steps.read(rewriting.row)).repolicy
        assert present is not None
        assert 3 <= present.passes <= 6
        if damaged:
            working.cancel()
            return
        await store.abort_upload(container, "u", upload.id)
        await asyncio.wait_for(working, 2 * BLOCKED_S)
        assert await policies_of(world, container) == {"ec-4-2"}

    run(scene(damaged=False))
    run(scene(damaged=True))


class _Dark(Rewriter):
    """Of one container nothing can be read now."""

    dark: ContainerRow

    async def step(
        self, container: ContainerRow, name: bytes, policy: Policy, spend: Spend
    ) -> Rewritten:
        if container == self.dark:
            raise Unavailable("too few fragments")
        return await super().step(container, name, policy, spend)


def test_a_container_that_can_only_fail_does_not_keep_the_others_waiting() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        containers = [await store.create_container("a", name) for name in ("c", "d")]
        for container in containers:
            await store.put_object(container, "o", BytesBody(b"x" * 100_000), PLAIN)
        dark, lit = (Rewriting(world, container) for container in containers)
        for one in (dark, lit):
            await one.ask("ec-4-2")
        worker = dark.worker
        worker._rewriter = _Dark(store.rows, dark.steps, store.blobs, SeededRandomness(1))
        _Dark.dark = dark.row
        worker.ask(dark.row)
        for _ in range(40):
            with contextlib.suppress(Unavailable):
                await worker.work()
            await asyncio.sleep(1.0)
        assert await policies_of(world, containers[1]) == {"ec-4-2"}
        assert await policies_of(world, containers[0]) == {"replicated-3"}

    run(scene())
