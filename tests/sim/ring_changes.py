"""The operator: adds devices, drains and weighs them anew while everything else goes on."""

import asyncio
import random
from collections.abc import Iterable
from typing import Protocol

from proxy.cluster.register import RingTooLarge, StaleRing
from proxy.core.errors import StoreError
from ring.builder import apply, plan
from ring.draft import AddDevice, Change, Draft, RemoveDevice, SetWeight
from ring.epochs import is_joint
from ring.errors import RingError
from ring.lookup import Ring
from ring.types import ROWS, Device, DeviceState
from tests.sim.node import Dead, Node
from tests.sim.virtual_time import START_NS

DEVICES_MAX = 12


class Surroundings(Protocol):
    """What the operator works on."""

    nodes: list[Node]

    def plug_in(self, member: Device) -> None:
        """Put a new, formatted disk into a node."""

    def note(self, *what: object) -> None:
        """Take down a change for the report."""


class Operator:
    """Changes the ring now and then. often: how long to wait at most between two changes."""

    def __init__(self, world: Surroundings, rng: random.Random, pause_max_s: float) -> None:
        self._world = world
        self._rng = rng
        self._pause_max_s = pause_max_s

    async def run(self) -> None:
        """For ever; to be cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(self._pause_max_s / 4, self._pause_max_s))
            await self.change()

    async def change(self) -> None:
        """One change at one keeper node, if the ring is at rest there."""
        node = self._rng.choice(self._world.nodes)
        if not node.running or is_joint(node.ring, ROWS):
            return
        ring = node.ring
        make = self._rng.choice([self._add, self._add, self._remove, self._weigh, self._weigh])
        change = make(ring)
        if change is None:
            return
        new = with_changes(ring, [change])
        if new is None:
            return
        self._world.note("ring", new.epoch, told(change), "at", node.name)
        await publish(self._world, node, new)

    def _active(self, ring: Ring) -> list[Device]:
        return [member for member in ring.members if member.state is DeviceState.ACTIVE]

    def _add(self, ring: Ring) -> Change | None:
        if len(ring.members) >= DEVICES_MAX:
            return None
        number, node = ring.next_device_id, self._rng.choice(self._world.nodes).name
        zone = next((m.zone for m in ring.members if m.node == node), "z0")
        incarnation = f"{self._rng.getrandbits(128):032x}"
        weight = self._rng.choice([0.5, 1.0, 2.0])
        path = f"d{number}-{incarnation[:4]}"
        device = Device(number, incarnation, "r", zone, node, "sim", path, weight)
        self._world.plug_in(device)
        return AddDevice(device)

    def _remove(self, ring: Ring) -> Change | None:
        active = self._active(ring)
        if len(active) <= max(placement.replicas for placement in ring.placements):
            return None
        return RemoveDevice(self._rng.choice(active).id)

    def _weigh(self, ring: Ring) -> Change | None:
        device = self._rng.choice(self._active(ring))
        return SetWeight(device.id, self._rng.choice([0.3, 0.7, 1.0, 2.0]))


def with_changes(ring: Ring, changes: Iterable[Change]) -> Ring | None:
    """The ring after the first step of some changes, None where that is refused or changes nothing."""
    now_s = (START_NS // 10**9) + int(asyncio.get_running_loop().time())
    try:
        draft = Draft(ring.epoch)
        for change in changes:
            draft = draft.with_change(ring, change)
        step = plan(ring, draft, now_s)
        return apply(ring, step) if step.changes_ring else None
    except RingError:
        return None


async def publish(world: Surroundings, node: Node, ring: Ring) -> None:
    """Make it the cluster's ring, at a node."""
    register = node.register
    if register is None:
        return
    try:
        async with asyncio.timeout(10.0):
            await node.run(register.replace(ring))
        node.poke()
    except (StaleRing, RingTooLarge, StoreError, Dead, TimeoutError) as error:
        world.note("ring", ring.epoch, "not made for all that is known:", repr(error))


def told(change: Change) -> str:
    """For the report."""
    match change:
        case AddDevice(device):
            return f"adds d{device.id} ({device.weight}) to {device.node}"
        case RemoveDevice(device_id):
            return f"drains d{device_id}"
        case SetWeight(device_id, weight):
            return f"gives d{device_id} weight {weight}"
    return repr(change)
