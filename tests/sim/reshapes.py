"""The operator of containers: has their shards doubled, their objects rewritten to another policy."""

import asyncio
import random
from typing import Protocol

from proxy.core.errors import NoSuchContainer, StoreError
from proxy.core.resharding import BadShards, ContainerRow
from proxy.core.seals import Superseded
from proxy.core.shards import containers_shard
from proxy.core.store import CoreStore
from proxy.core.types import Container
from proxy.repair.repolicy import Repolicier, begun
from proxy.repair.reshard import Resharder
from tests.sim.clients import ACCOUNT, Place
from tests.sim.node import Dead, Node

SHARDS_MAX = 32


class Surroundings(Protocol):
    """What there is to reshape."""

    nodes: list[Node]
    places: list[Place]

    def note(self, *what: object) -> None:
        """Take down a change for the report."""


class Reshaper:
    """Reshapes a container now and then, as `tools/bucket_service.py` does it."""

    def __init__(self, world: Surroundings, rng: random.Random, pause_max_s: float) -> None:
        self._world = world
        self._rng = rng
        self._pause_max_s = pause_max_s

    async def run(self) -> None:
        """For ever; to be cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(self._pause_max_s / 4, self._pause_max_s))
            node, place = self._rng.choice(self._world.nodes), self._rng.choice(self._world.places)
            if node.store is not None:
                await self._try(node, node.store, place)

    async def _try(self, node: Node, store: CoreStore, place: Place) -> None:
        act = self._rng.choice([self._reshard, self._repolicy])
        try:
            async with asyncio.timeout(10.0):
                await node.run(act(node, store, place))
        except (NoSuchContainer, BadShards):
            return
        except (StoreError, Superseded, Dead, TimeoutError) as error:
            self._world.note("reshape of", place.name, "not done for all that is known:", repr(error))

    async def _reshard(self, node: Node, store: CoreStore, place: Place) -> None:
        container = await store.container(ACCOUNT, place.name, fresh=True)
        workers, target = node.workers, 2 * container.head.shards
        if workers is None or target > SHARDS_MAX:
            return
        self._world.note("reshard", place.name, "to", target, "at", node.name)
        await workers.container_rows.ask(_row(container), target)
        workers.resharder.ask(_row(container))
        workers.runner.run_now(Resharder.name)

    async def _repolicy(self, node: Node, store: CoreStore, place: Place) -> None:
        container = await store.container(ACCOUNT, place.name, fresh=True)
        workers, others = node.workers, sorted(store.policies.keys() - {container.head.policy})
        if workers is None or not others:
            return
        policy, now_ns = self._rng.choice(others), node.clock.now_ns()
        self._world.note("policy of", place.name, "becomes", policy, "at", node.name)
        row = _row(container)
        await workers.container_rows.update(row, lambda head: begun(head, policy, now_ns))
        workers.repolicier.ask(row)
        workers.runner.run_now(Repolicier.name)


def _row(container: Container) -> ContainerRow:
    return ContainerRow(containers_shard(container.account), container.name.encode(), container.head.id)


def unfinished(container: Container) -> str:
    """What of a container's reshapes is still under way, "" for nothing."""
    head = container.head
    if head.reshard is not None:
        return f"{container.name} is still being resharded: {head.reshard}"
    if head.repolicy is not None:
        return f"the objects of {container.name} are still being rewritten: {head.repolicy}"
    return ""
