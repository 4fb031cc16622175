"""Scenes: short plays that bring about what chance alone seldom does, before the usual bustle begins.

Five seeds of six play one, each with other nodes, rows and times. A scene only arranges: it sets
clocks, breaks what the simulation breaks anyway, and has clients ask; what is right is for the same
checkers to say.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tests.sim.disk import Leaves
from tests.sim.node import Node
from tests.sim.ring_scenes import (
    behind_the_ring,
    joint_for_long,
    newcomer_cut_off,
    sync_across_epochs,
)
from tests.sim.row_scenes import duel, late_copy, lone_write, missed_write
from tests.sim.stage import Actor, BlobActor, SlowReader, Spot, Stage

ROUNDS = 3

CLOCK_S = 4.0
"""How far clocks are set at a time. Twice that is what they may usually be wrong by."""


async def torn_journal(stage: Stage) -> None:
    """A record is torn by a power cut, others are written after the start, and replayed again before
    the next checkpoint."""
    for spot in (await stage.spots())[:ROUNDS]:
        device = stage.rng.choice(stage.replicas(spot))
        node, disk = stage.node_of(device), stage.disk(device)
        disk.leaves, disk.ambush = Leaves.TORN, node.cut_power
        await stage.anywhere().put(spot.place, spot.key)
        await stage.until(partial(_is_down, node), 2.0)
        disk.ambush = None
        if not node.running:
            stage.world.note("power cut", node.name, "tears what", disk.name, "had not synced")
            await stage.start(node)
        await stage.actor(node).put(spot.place, spot.key)
        await asyncio.sleep(stage.rng.uniform(0.0, 0.02))
        stage.world.note("kill", node.name)
        node.kill()
        await stage.start(node)
    stage.world.require_devices()


def _is_down(node: Node) -> bool:
    return not node.running


async def clock_set_back(stage: Stage) -> None:
    """A node stamps just above what it has seen of one that is ahead, and once more so after a restart
    with its clock set back."""
    ahead, behind = stage.rng.sample(stage.nodes, 2)
    seen, written = (await stage.spots())[:2]
    await stage.restart(ahead, stage.rng.uniform(0.0, CLOCK_S))
    await stage.restart(behind, -stage.rng.uniform(0.5, CLOCK_S))
    await stage.actor(ahead).put(seen.place, seen.key)
    await stage.actor(behind).get(seen.place, seen.key)
    for _ in range(ROUNDS):
        await stage.actor(behind).put(written.place, written.key)
    await stage.restart(behind, behind.ahead_s - stage.rng.uniform(0.0, CLOCK_S))
    await stage.actor(behind).get(seen.place, seen.key)
    await stage.actor(behind).put(written.place, written.key)
    await stage.actor(ahead).get(written.place, written.key)


async def rotten_disk(stage: Stage) -> None:
    """Every blob of one disk is damaged, and read."""
    spots = [spot for spot in await stage.spots() if not spot.place.brief][: 2 * ROUNDS]
    for spot in spots:
        await stage.anywhere(BlobActor).put(spot.place, spot.key)
    disk = stage.world.bad_disk
    stage.world.note("rot", disk.name, disk.rot_blobs(), "blobs")
    for spot in spots:
        for node in stage.rng.sample(stage.nodes, 2):
            await stage.actor(node).get(spot.place, spot.key)


async def slow_reader(stage: Stage) -> None:
    """Objects are replaced while somebody is about to read the blobs of what they were."""
    spots = [spot for spot in await stage.spots() if not spot.place.brief][:ROUNDS]
    for spot in spots:
        await stage.anywhere(BlobActor).put(spot.place, spot.key)
    reads = [
        asyncio.ensure_future(stage.anywhere(SlowReader).get(spot.place, spot.key)) for spot in spots
    ]
    await asyncio.sleep(stage.rng.uniform(0.05, 0.5))
    for spot in spots:
        await stage.anywhere(BlobActor).put(spot.place, spot.key)
    await asyncio.gather(*reads)


async def blackout(stage: Stage) -> None:
    """The power fails everywhere in the moment of an answer, and disks keep only what was synced."""
    for spots in _by_two(await stage.spots()):
        writes = [
            asyncio.ensure_future(stage.anywhere(kind).put(spot.place, spot.key))
            for spot, kind in zip(spots, (Actor, BlobActor), strict=False)
        ]
        await asyncio.wait([stage.rng.choice(writes)])
        stage.world.note("power cut of all")
        for node in stage.nodes:
            for disk in (node.home, *node.disks.values()):
                disk.leaves = Leaves.NOTHING
            node.cut_power()
        await asyncio.gather(*writes)
        for node in stage.nodes:
            await stage.start(node)
        for spot in spots:
            await stage.anywhere().get(spot.place, spot.key)
    stage.world.require_devices()


def _by_two(spots: list[Spot]) -> list[list[Spot]]:
    return [spots[at : at + 2] for at in range(0, min(len(spots), 2 * ROUNDS), 2)]


PLAYS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    torn_journal,
    clock_set_back,
    rotten_disk,
    blackout,
    joint_for_long,
    behind_the_ring,
    sync_across_epochs,
    missed_write,
    lone_write,
    late_copy,
    duel,
)
OTHERWISE: tuple[Callable[[Stage], Awaitable[None]], ...] = (slow_reader, newcomer_cut_off)
"""Of the seeds that play none of these three of four play one of these, the first twice as often."""

SCENES = {play.__name__.replace("_", "-"): play for play in (*PLAYS, *OTHERWISE)}


def scene_of(seed: int) -> str:
    """The name of the scene that a seed plays; "" for none: eleven seeds of twelve play one."""
    block, rest = divmod(seed, 3)
    if rest:
        return list(SCENES)[(2 * block + rest - 1) % len(PLAYS)]
    if block % 2:
        return list(SCENES)[-2]
    return list(SCENES)[-1] if block % 4 else ""
