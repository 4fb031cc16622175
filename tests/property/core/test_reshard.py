"""Resharding while clients write, read, list and end uploads: every key stays a register.

The same clients and the same disturbances as in `test_histories`, and beside them movers of shards that
are killed at any moment, stopped for a while, and two at once.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import pytest

from proxy.core.errors import Damaged, Full, Unavailable
from proxy.core.owners import Owners
from proxy.core.placement import Replicas
from proxy.core.register import Versioned
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.rows import SealedShard
from proxy.core.seals import Superseded
from proxy.core.shards import containers_shard
from proxy.core.types import Container
from proxy.repair.shard_move import Moved, ShardMove
from runtime.randomness import SeededRandomness
from tests.property.core.test_histories import (
    Client,
    History,
    calm,
    disturb,
    everything_can_be_read,
    nothing_is_left,
)
from tests.property.core.world import World, run
from tests.property.register.linearizability import linearizable

CLIENTS = 4


def container_row(container: Container) -> ContainerRow:
    return ContainerRow(containers_shard("a"), container.name.encode(), container.head.id)


class Working(Protocol):
    """What can be killed and begun again."""

    over: bool

    async def work(self) -> None:
        """Until it is over."""


class Mover:
    """Moves the shards of a container, as the worker does, and may be killed."""

    def __init__(
        self, world: World, container: Container, make: Callable[..., ShardMove] = ShardMove
    ) -> None:
        self.store = world.proxy(ahead_s=world.random.choice([0.0, 3.0, -3.0]))
        self.clock = world.clock
        self.row = container_row(container)
        randomness = SeededRandomness(world.random.getrandbits(64))
        self.steps = Resharding(self.store.rows, world.clock, randomness)
        self._make = make
        self.over = False

    async def work(self) -> None:
        """Until there is nothing to move any more."""
        while not self.over:
            try:
                await self._one()
            except (Unavailable, Superseded, Full, SealedShard):
                await asyncio.sleep(0.02)

    async def _one(self) -> None:
        head = await self.steps.read(self.row)
        if head.reshard is None:
            self.over = True
            return
        move = self._make(
            self.store.rows, self.steps, self.row, head.layout, asyncio.get_running_loop().time
        )
        while not (await move.step()).over:
            await asyncio.sleep(0)


async def ask(mover: Mover, shards: int) -> None:
    while True:
        try:
            await mover.steps.ask(mover.row, shards)
        except Unavailable:
            continue
        return


async def keep_killing(world: World, mover: Working) -> None:
    """A mover that dies again and again, and lives longer each time."""
    rnd = random.Random(world.random.getrandbits(64))
    life_s = 0.02
    while not mover.over:
        task = asyncio.ensure_future(mover.work())
        await asyncio.wait([task], timeout=rnd.uniform(0, life_s))
        life_s *= 1.3
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def scene(seed: int, make: Callable[..., ShardMove] = ShardMove) -> None:
    world = World(seed)
    history = History()
    container = await world.proxy().create_container("a", "c")
    clients = [Client(number, world, history, container) for number in range(CLIENTS)]
    movers = [Mover(world, container, make) for _ in range(1 + seed % 2)]
    disturbance = asyncio.ensure_future(disturb(world))

    async def move() -> None:
        await asyncio.sleep(world.random.uniform(0, 0.1))
        await ask(movers[0], 16)
        await asyncio.gather(*(keep_killing(world, mover) for mover in movers))

    moving = asyncio.ensure_future(move())
    await asyncio.gather(*(client.work() for client in clients))
    disturbance.cancel()
    calm(world)
    await moving
    assert (await movers[0].steps.read(movers[0].row)).layout.shards == 16
    await everything_can_be_read(world, history, container)
    present = await world.proxy().container("a", "c")
    await everything_can_be_read(world, history, present)
    for key, events in history.events.items():
        assert linearizable(events), (key, sorted(events))
    await nothing_is_left(world, container)


@pytest.mark.parametrize("seed", range(40))
def test_every_key_is_a_register_while_its_shard_moves(seed: int) -> None:
    run(scene(seed))


class NoSeal(ShardMove):
    """Writes go on in the old shard."""

    async def _close(self) -> Moved:
        seal = await self._resharding.begin(self._row, self.layout.moved, self.layout.generation)
        await self._carry_open(*[told for told in [await self._news(self._replicas())] if told])
        await self._resharding.switch(self._row, seal.nonce)
        return Moved(0, over=True)


class NoDifference(ShardMove):
    """What changed after the last look, and what is owed, stays behind."""

    async def _carry_sealed(self, move: bytes) -> int:
        return 0


class EarlySwitch(ShardMove):
    """The new shards count before they have everything."""

    async def _carry_sealed(self, move: bytes) -> int:
        await self._resharding.switch(self._row, move)
        return await super()._carry_sealed(move)


class Unfollowed(ShardMove):
    """Changes are not told from the beginning on, but from the last look."""

    async def _news(self, replicas: Replicas) -> dict[bytes, bytes] | None:
        self._cursors = {}
        await self._follow()
        return {}


def test_a_collector_that_does_not_follow_the_rows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for the owner of a blob in the shard that the blob's header names."""

    async def unmoved(self: Owners, shard: bytes, name: bytes) -> Versioned:
        return await self._rows.read(shard, name)

    monkeypatch.setattr(Owners, "_object_row", unmoved)
    for seed in range(60):
        try:
            run(scene(seed))
        except (AssertionError, Damaged):
            return
    pytest.fail("nobody noticed")


MUTANTS = {NoSeal: 301, NoDifference: 366, EarlySwitch: 407, Unfollowed: 311}
"""With the seed at which to begin to look: what is rare is found soon."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_rule_of_a_move_is_needed(mutant: type[ShardMove]) -> None:
    """With a rule left out some seed shows it."""
    first = MUTANTS[mutant]
    for seed in range(first, first + 120):
        try:
            run(scene(seed, mutant))
        except (AssertionError, Damaged):
            return
    pytest.fail("nobody noticed")
