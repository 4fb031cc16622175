"""Scenes of rows: what a majority has and one replica has not, or the other way round."""

import asyncio

from storage.types import HISTORY_VERSIONS
from tests.sim.network import REPEATED_AFTER_MAX_S, Link
from tests.sim.node import Node
from tests.sim.stage import Spot, Stage

SPOTS = 3
DUELS = 6
DUELLISTS = 3

ARRIVED_S = 0.05
"""A message on a good link has arrived by then, and the write that it asks for is durable."""


def _homes(stage: Stage, spot: Spot) -> list[Node]:
    """The nodes of a row's replicas, in any order; fewer than three where two are on one node."""
    nodes = [stage.node_of(device) for device in stage.replicas(spot)]
    return stage.rng.sample(list(dict.fromkeys(nodes)), len(dict.fromkeys(nodes)))


async def missed_write(stage: Stage) -> None:
    """One replica misses a write, and its node is asked for what there is."""
    for number, spot in enumerate((await stage.spots())[:SPOTS]):
        missing = _homes(stage, spot)[0]
        writer = stage.rng.choice([node for node in stage.nodes if node is not missing])
        await stage.anywhere().put(spot.place, spot.key)
        await asyncio.sleep(ARRIVED_S)
        stage.cut_off(writer, missing)
        await stage.actor(writer).put(spot.place, spot.key)
        stage.heal()
        reader = stage.actor(missing)  # whichever it does first mends the row
        if number % 2:
            await reader.get(spot.place, spot.key)
        await reader.listing(spot.place)
        await reader.get(spot.place, spot.key)


async def lone_write(stage: Stage) -> None:
    """A write reaches one replica alone. Who meets it there must not tell before others have it."""
    writes = []
    for number, spot in enumerate((await stage.spots())[:SPOTS]):
        homes = _homes(stage, spot)
        if len(homes) < 3:
            continue
        lone, between, other = homes
        asker = stage.rng.choice([node for node in stage.nodes if node is not other])
        await stage.actor(lone).get(spot.place, spot.key)
        stage.cut_off(lone, between)
        stage.cut_off(lone, other)
        writes.append(asyncio.ensure_future(stage.actor(lone).put(spot.place, spot.key)))
        await asyncio.sleep(ARRIVED_S)
        stage.heal()
        stage.cut_off(asker, other)
        client = stage.actor(asker)
        await [client.create, client.get][number % 2](spot.place, spot.key)
        stage.heal()
        stage.cut_off(other, lone)
        await stage.actor(other).get(spot.place, spot.key)
        stage.heal()
    await asyncio.gather(*writes)


async def late_copy(stage: Stage) -> None:
    """A write's answers are lost, and copies of its messages arrive when replicas have forgotten it."""
    for spot in (await stage.spots())[:SPOTS]:
        writer, reader = stage.rng.sample(stage.nodes, 2)
        await stage.actor(writer).get(spot.place, spot.key)
        links, homes = stage.world.network.links, _homes(stage, spot)
        for node in stage.nodes:
            if node is not writer and node in homes:
                links[writer.name, node.name] = Link(repeat=1.0)
                links[node.name, writer.name] = Link(cut=True)
        stage.world.note("answers to", writer.name, "are lost, messages repeated")
        write = asyncio.ensure_future(stage.actor(writer).put(spot.place, spot.key))
        await asyncio.sleep(ARRIVED_S)
        other = stage.actor(reader)
        await other.get(spot.place, spot.key)
        for _ in range(HISTORY_VERSIONS + 1):
            await other.put(spot.place, spot.key)
        stage.heal()
        await asyncio.sleep(REPEATED_AFTER_MAX_S)
        await write
        await other.get(spot.place, spot.key)


async def duel(stage: Stage) -> None:
    """Several create one object at once, over links that let their messages overtake each other."""
    for pair in stage.world.network.links:
        stage.world.network.links[pair] = Link(delay_max_s=stage.rng.choice([0.01, ARRIVED_S]))
    spot = (await stage.spots())[0]
    duellists = [stage.actor(node) for node in stage.rng.sample(stage.nodes, DUELLISTS)]
    for _ in range(DUELS):
        await asyncio.gather(*(client.create(spot.place, spot.key) for client in duellists))
        await duellists[0].get(spot.place, spot.key)
        await duellists[0].delete(spot.place, spot.key)
    stage.heal()
