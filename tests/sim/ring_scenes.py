"""Scenes of ring changes: a write that reaches one replica that stays and the one that leaves, in the
moment in which that is not enough.

A device is added so that some row moves to it. The write misses the second replica that stays; who then
asks that one and the newcomer must be told of the write, if it was acknowledged.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

from ring.draft import AddDevice
from ring.lookup import Ring
from ring.types import ROWS, Device
from tests.sim.node import Node
from tests.sim.ring_changes import publish, told, with_changes
from tests.sim.stage import SETTLED_S, Spot, Stage

WEIGHT = 2.0
"""Of the devices that are added: much moves to them."""

STALL_S = 5.0
"""How long a slow disk's syncs take: longer than a ring change, shorter than clients wait."""

EARLY_S = 4.0
"""How long an epoch is given to end before it may."""

LATE_S = 0.3
"""How much later than the others the newcomer's node enters the joint epoch."""


class Move(NamedTuple):
    """A row on the move, and the ring's devices that matter: `holds` and `misses` stay."""

    spot: Spot
    holds: int
    misses: int
    leaves: int
    comes: int


class Cast(NamedTuple):
    """Who plays. ring: the joint one to come. The nodes of the move's devices; writer: asked to write.

    added: where devices are added.
    """

    ring: Ring
    move: Move
    holds: Node
    misses: Node
    leaves: Node
    comes: Node
    writer: Node
    added: tuple[Node, ...]


async def sync_across_epochs(stage: Stage) -> None:
    """A replica that syncs slowly enters the joint epoch, a newcomer pulls from it, and only then the
    write that it took before is acknowledged."""
    cast = await _cast(stage, 1, lambda c: c.writer is not c.misses)
    if cast is None:
        return
    spot = await _before(stage, cast)
    disk = stage.disk(cast.move.holds)
    stage.world.note("slow syncs", disk.name)
    disk.stall_s = STALL_S
    stage.cut_off(cast.writer, cast.misses)
    write = asyncio.ensure_future(stage.actor(cast.writer).put(spot.place, spot.key))
    await asyncio.sleep(0.05)
    stage.heal()
    cast.comes.home.stall_s = LATE_S
    await publish(stage.world, cast.holds, cast.ring)
    _poke(stage.nodes)
    await asyncio.sleep(LATE_S)
    cast.comes.home.stall_s = 0.0
    await write
    disk.stall_s = 0.0
    await stage.until_settled(cast.ring.epoch, stage.nodes)
    await _read_without(stage, cast)


async def joint_for_long(stage: Stage) -> None:
    """A joint epoch lasts because one newcomer's node is down. Another one has settled, and has no room
    for a write that its old replicas take."""

    def suits(cast: Cast) -> bool:
        away = cast.added[1]
        moved = cast.ring.moved_in_epoch(ROWS)
        assert moved is not None
        holders = cast.ring.tables[ROWS][moved.replicas, moved.partitions].tolist()
        waited_for = any(stage.node_of(device, cast.ring) is away for device in holders)
        return (
            waited_for
            and cast.comes is cast.added[0]
            and cast.misses is away
            and cast.writer is not away
            and away is not stage.only_keeper
        )

    cast = await _cast(stage, 2, suits)
    if cast is None:
        return
    spot = await _before(stage, cast)
    stage.world.note("kill", cast.misses.name)
    cast.misses.kill()
    present = [node for node in stage.nodes if node is not cast.misses]
    await publish(stage.world, cast.holds, cast.ring)
    _poke(present)
    await stage.until(lambda: all(_joined(node, cast.ring.epoch) for node in present), SETTLED_S)
    disk = stage.disk(cast.move.comes, cast.ring)
    stage.world.note("full", disk.name)
    disk.full = True
    await stage.actor(cast.writer).put(spot.place, spot.key)
    await asyncio.sleep(LATE_S)  # until the full one, too, has answered
    disk.full = False
    await stage.start(cast.misses)
    await stage.until_settled(cast.ring.epoch, stage.nodes)
    await _read_without(stage, cast)


async def newcomer_cut_off(stage: Stage) -> None:
    """A newcomer reaches none of those that have a write; the epoch must not end before it does."""

    def suits(cast: Cast) -> bool:
        apart = {cast.holds, cast.leaves}
        return (
            not apart & {cast.comes, cast.misses, stage.only_keeper} and cast.writer is not cast.misses
        )

    cast = await _cast(stage, 1, suits)
    if cast is None:
        return
    spot = await _before(stage, cast)
    stage.cut_off(cast.writer, cast.misses)
    await stage.actor(cast.writer).put(spot.place, spot.key)
    stage.heal()
    stage.cut_off(cast.comes, cast.holds)
    stage.cut_off(cast.comes, cast.leaves)
    await publish(stage.world, cast.misses, cast.ring)
    _poke(stage.nodes)
    await stage.until_settled(cast.ring.epoch, [cast.comes], EARLY_S)
    await stage.actor(cast.comes).get(spot.place, spot.key)
    stage.heal()
    await stage.until_settled(cast.ring.epoch, stage.nodes)


def _joined(node: Node, epoch: int) -> bool:
    progress = node.progress()
    return progress.epoch >= epoch and not progress.unsettled


async def behind_the_ring(stage: Stage) -> None:
    """A node can't make the ring durable, stays in an old epoch while the others go through two, and is
    asked to write."""

    def suits(cast: Cast) -> bool:
        return cast.writer not in {cast.misses, cast.comes, stage.only_keeper}

    cast = await _cast(stage, 1, suits)
    if cast is None:
        return
    spot = await _before(stage, cast)
    stage.world.note("slow syncs", cast.writer.home.name)
    cast.writer.home.stall_s = 3 * STALL_S
    others = [node for node in stage.nodes if node is not cast.writer]
    await publish(stage.world, cast.comes, cast.ring)
    _poke(others)
    await stage.until_settled(cast.ring.epoch, others)
    stage.cut_off(cast.writer, cast.misses)
    await stage.actor(cast.writer).put(spot.place, spot.key)
    cast.writer.home.stall_s = 0.0
    stage.heal()
    await _read_without(stage, cast)
    await stage.until_settled(cast.ring.epoch, stage.nodes)


def _poke(nodes: list[Node]) -> None:
    """Tell them of a newer ring."""
    for node in nodes:
        node.poke()


async def _before(stage: Stage, cast: Cast) -> Spot:
    """What is written first is on all replicas, and the writer knows the container."""
    spot = cast.move.spot
    await stage.anywhere().put(spot.place, spot.key)
    await stage.actor(cast.writer).get(spot.place, spot.key)
    return spot


async def _read_without(stage: Stage, cast: Cast) -> None:
    """Read from the newcomer and the one that missed the write, which are a majority now."""
    stage.heal()
    stage.cut_off(cast.comes, cast.holds)
    await stage.actor(cast.comes).get(cast.move.spot.place, cast.move.spot.key)
    stage.heal()


# -- who plays -------------------------------------------------------------------------------------


async def _cast(stage: Stage, count: int, suits: Callable[[Cast], bool]) -> Cast | None:
    """Add devices to `count` nodes so that some row moves as the scene needs it; None: none does."""
    spots = await stage.spots()
    orders = list(permutations(stage.nodes, count))
    stage.rng.shuffle(orders)
    for nodes in orders:
        devices = _devices(stage, nodes)
        ring = with_changes(stage.ring, [AddDevice(device) for device in devices])
        if ring is None:
            continue
        for cast in _casts(stage, ring, spots, nodes):
            if suits(cast):
                for device in devices:
                    stage.world.plug_in(device)
                    stage.world.note("ring", ring.epoch, told(AddDevice(device)))
                return cast
    return None


def _devices(stage: Stage, nodes: tuple[Node, ...]) -> list[Device]:
    """A new device for each of these nodes."""
    made: list[Device] = []
    for number, node in enumerate(nodes, stage.ring.next_device_id):
        incarnation = f"{stage.rng.getrandbits(128):032x}"
        zone = next(member.zone for member in stage.ring.members if member.node == node.name)
        path = f"d{number}-{incarnation[:4]}"
        made.append(Device(number, incarnation, "r", zone, node.name, "sim", path, WEIGHT))
    return made


def _casts(stage: Stage, ring: Ring, spots: list[Spot], added: tuple[Node, ...]) -> Iterator[Cast]:
    """Whoever could play: the writer reaches who holds and who leaves, the newcomer is elsewhere."""
    for move in _moves(stage, ring, spots):
        devices = move.holds, move.misses, move.leaves, move.comes
        holds, misses, leaves, comes = (stage.node_of(device, ring) for device in devices)
        if holds in {misses, comes} or leaves is misses:
            continue
        for writer in stage.rng.sample(stage.nodes, len(stage.nodes)):
            yield Cast(ring, move, holds, misses, leaves, comes, writer, added)


def _moves(stage: Stage, ring: Ring, spots: list[Spot]) -> Iterator[Move]:
    for spot in spots:
        before, after = stage.replicas(spot), stage.replicas(spot, ring)
        stay = [device for device in before if device in after]
        gone = [device for device in before if device not in after]
        come = [device for device in after if device not in before]
        if len(stay) == 2 and len(gone) == len(come) == 1:
            for holds, misses in (stay, stay[::-1]):
                yield Move(spot, holds, misses, gone[0], come[0])
