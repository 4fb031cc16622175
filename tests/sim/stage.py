"""What scenes are played on: nodes and disks, found by what they hold, and who acts there."""

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

from proxy.core.store import CoreStore
from proxy.repair.ring_change import RingChange
from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS, Device
from tests.sim.clients import ACCOUNT, PATIENCE_MAX_S, Client, Place
from tests.sim.disk import SimDisk
from tests.sim.history import History
from tests.sim.network import Link, Network
from tests.sim.node import Node

LOOK_S = 0.1
SETTLED_S = 40.0
"""A ring change is waited for so long: a pull from a dead node may take 30 s."""


class Surroundings(Protocol):
    """What scenes need of the world."""

    nodes: list[Node]
    disks: list[SimDisk]
    network: Network
    places: list[Place]
    history: History

    @property
    def bad_disk(self) -> SimDisk:
        """The only one whose bytes may be damaged."""

    def plug_in(self, member: Device) -> None:
        """Put a new, formatted disk into a node."""

    def trace(self, *what: object) -> None:
        """Take down what happened."""

    def note(self, *what: object) -> None:
        """Take down a fault for the report."""

    def require_devices(self) -> None:
        """Violation where one is offline."""


class Actor(Client):
    """A client whose objects are rows without blobs."""

    def _size_bytes(self) -> int:
        return self._rng.randint(200, 1_500)


class BlobActor(Client):
    """A client whose objects are one blob each."""

    def _size_bytes(self) -> int:
        return self._rng.randint(65_537, 120_000)


class SlowReader(Client):
    """A client that takes its time between an object's head and its bytes."""

    def _pause_in_read_max_s(self) -> float:
        return 2 * PATIENCE_MAX_S / 3


class Spot(NamedTuple):
    """An object's row."""

    place: Place
    key: str
    shard: bytes


class Stage:
    """See the module. Everything is drawn from `rng`."""

    def __init__(self, world: Surroundings, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.nodes = world.nodes
        self._actors = 0

    def actor(self, node: Node, kind: type[Client] = Actor) -> Client:
        """Somebody who asks this node."""
        self._actors += 1
        rng = random.Random(self.rng.getrandbits(64))
        return kind(f"s{self._actors}", self.world, rng, 0.0).on(node)

    def anywhere(self, kind: type[Client] = Actor) -> Client:
        """Somebody who asks any node."""
        return self.actor(self.rng.choice(self.nodes), kind)

    async def spots(self) -> list[Spot]:
        """All objects' rows, in any order."""
        found: list[Spot] = []
        for place in self.world.places:

            async def spots(store: CoreStore, place: Place = place) -> list[Spot]:
                layout = (await store.container(ACCOUNT, place.name)).head.layout
                return [Spot(place, key, layout.shard_of(key.encode())) for key in place.keys]

            found += await self.nodes[0].carry_out(spots)
        self.rng.shuffle(found)
        return found

    # -- where things are --

    @property
    def ring(self) -> Ring:
        """The newest that a running node uses."""
        return max((node.ring for node in self.nodes if node.running), key=lambda ring: ring.epoch)

    def replicas(self, spot: Spot, ring: Ring | None = None) -> list[int]:
        """The devices of a row."""
        ring = ring or self.ring
        return list(ring.devices(ROWS, ring.partition(spot.shard)))

    def node_of(self, device_id: int, ring: Ring | None = None) -> Node:
        """Where a device is."""
        name = (ring or self.ring).device(device_id).node
        return next(node for node in self.nodes if node.name == name)

    def disk(self, device_id: int, ring: Ring | None = None) -> SimDisk:
        """A device's disk."""
        return self.node_of(device_id, ring).disks[(ring or self.ring).device(device_id).path]

    @property
    def only_keeper(self) -> Node | None:
        """The node without which nobody reads the ring, if there is one."""
        names = self.nodes[0].settings.keepers
        return next(node for node in self.nodes if node.name in names) if len(names) == 1 else None

    # -- what is done to them --

    def cut_off(self, one: Node, other: Node) -> None:
        """Cut the links between two nodes, until `heal`."""
        for pair in ((one.name, other.name), (other.name, one.name)):
            if pair in self.world.network.links:
                self.world.network.links[pair] = Link(cut=True)
        self.world.note("cut", one.name, "from", other.name)

    def heal(self) -> None:
        """All links are good."""
        self.world.network.calm()

    async def restart(self, node: Node, ahead_s: float) -> None:
        """Stop a process and start it with another idea of the time."""
        await node.stop()
        node.ahead_s = ahead_s
        await self.start(node)

    async def start(self, node: Node) -> None:
        """Start what was killed or cut off from power."""
        await node.start()
        self.world.note("start", node.name, f"{node.ahead_s:+.1f} s")

    # -- waiting --

    async def until(self, reached: Callable[[], bool], within_s: float) -> bool:
        """Whether it came so far in that time."""
        end = asyncio.get_running_loop().time() + within_s
        while not reached():
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def until_settled(self, epoch: int, nodes: list[Node], within_s: float = SETTLED_S) -> bool:
        """Until these nodes have left that epoch behind for one that is not joint."""
        for node in self.nodes:
            if node.workers is not None and node.keeper is not None:
                node.workers.runner.run_now(RingChange.name)
        return await self.until(
            lambda: all(node.ring.epoch > epoch and not is_joint(node.ring, ROWS) for node in nodes),
            within_s,
        )
