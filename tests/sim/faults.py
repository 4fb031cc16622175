"""What goes wrong, and when: all from the seed.

Each seed draws which kinds of faults it has and how often ("swarm testing"; Groce et al., 2012): one
that always does everything never gets far enough for some failures. Any number of crashes, power cuts,
cut links, full disks and failed syncs must be survived: they cost answers, never data. Damage at rest
and misread bytes hit one disk per seed, because two copies of three may be what a majority had.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from tests.sim.disk import SimDisk
from tests.sim.network import Link, Network
from tests.sim.node import Node

SKEW_S = 8.0
"""Clocks are usually wrong by up to this."""

FAR_SKEW_S = 90.0
"""In some seeds one clock is wrong by more than replicas stand."""


class Surroundings(Protocol):
    """What there is to break."""

    nodes: list[Node]
    disks: list[SimDisk]
    network: Network

    def note(self, *what: object) -> None:
        """Take down a fault for the report."""


class Faults:
    """Breaks things until it is stopped; `mend` repairs them all."""

    def __init__(self, world: Surroundings, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.bad_disk = rng.choice(world.disks)
        """The only one whose bytes are damaged."""
        self._kinds: list[tuple[float, Callable[[], Awaitable[None]]]] = []
        self._pause_max_s = rng.choice([2.0, 8.0, 20.0])
        self._down_max_s = rng.choice([1.0, 5.0, 30.0])
        self._skew_s = rng.choice([0.0, 0.05, SKEW_S, SKEW_S])
        self._far = rng.choice(world.nodes) if rng.random() < 0.1 else None
        self._over = False
        self.gates: list[asyncio.Task[None]] = []
        every: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (3, self._power_cut), (1, self._power_cut_of_many), (2, self._kill), (1, self._restart),
            (2, self._one_way), (2, self._partition), (3, self._bad_links), (1, self._full),
            (1, self._sync_failure), (1, self._unplugged), (2, self._rot),
        ]  # fmt: skip
        self._kinds = [(weight, kind) for weight, kind in every if rng.random() < 0.5]
        if rng.random() < 0.2:
            self.bad_disk.bad_reads = rng.choice([0.001, 0.02])

    def set_clocks(self) -> None:
        """Give every node its own idea of the time; far off is one at the earliest when it restarts."""
        self._over = True
        for node in self._world.nodes:
            self._set_clock(node)
        self._over = False

    def _set_clock(self, node: Node) -> None:
        far = node is self._far
        span_s = FAR_SKEW_S if far and not self._over else self._skew_s
        node.ahead_s = self._rng.uniform(-span_s, span_s)

    async def run(self) -> None:
        """Break something, now and then, for ever."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.05, self._pause_max_s))
            if self._kinds:
                weights = [weight for weight, _ in self._kinds]
                kind = self._rng.choices([kind for _, kind in self._kinds], weights)[0]
                await kind()

    async def mend(self) -> None:
        """All links, disks and processes are good again, and no clock is too far off."""
        self._over = True
        self._world.network.calm()
        for disk in self._world.disks:
            self._mend_disk(disk)
        for node in self._world.nodes:
            await self._revive(node)
        self._world.note("all is mended")

    def _mend_disk(self, disk: SimDisk) -> None:
        disk.full = disk.low = disk.gone = disk.sync_fails = False
        disk.bad_reads = 0.0
        disk.ambush = None

    async def _revive(self, node: Node) -> None:
        await node.settled()
        if not node.running:
            node.kill()
            await self._start(node)
        elif node is self._far or any(d.status().offline for d in node.devices.values()):
            await node.stop()
            await self._start(node)

    async def _start(self, node: Node) -> None:
        self._set_clock(node)
        await node.start()
        self._world.note("start", node.name, f"{node.ahead_s:+.1f} s")

    # -- processes --

    def _later(self, what: Callable[[], Awaitable[None]], after_s: float) -> None:
        async def wait() -> None:
            await asyncio.sleep(after_s)
            await what()

        self.gates = [gate for gate in self.gates if not gate.done()]
        self.gates.append(asyncio.get_running_loop().create_task(wait()))

    def _down_s(self) -> float:
        return self._rng.uniform(0.1, self._rng.choice([1.0, self._down_max_s]))

    async def _up(self, node: Node) -> None:
        await node.settled()
        if not node.running:
            node.kill()
            await self._start(node)

    def _end(self, node: Node, how: str) -> None:
        if node.running:
            self._world.note(how, node.name)
            (node.cut_power if how == "power cut" else node.kill)()
            self._later(lambda: self._up(node), self._down_s())

    async def _power_cut(self) -> None:
        """At once, or in the middle of the next sync of one of its disks."""
        node = self._rng.choice(self._world.nodes)
        disks = list(node.disks.values())
        if disks and self._rng.random() < 0.6:
            self._rng.choice(disks).ambush = lambda: self._end(node, "power cut")
        else:
            self._end(node, "power cut")

    async def _power_cut_of_many(self) -> None:
        for node in self._world.nodes:
            if self._rng.random() < 0.8:
                self._end(node, "power cut")

    async def _kill(self) -> None:
        self._end(self._rng.choice(self._world.nodes), "kill")

    async def _restart(self) -> None:
        node = self._rng.choice(self._world.nodes)
        if node.running:
            self._world.note("stop", node.name)
            await node.stop()
            self._later(lambda: self._up(node), self._rng.uniform(0, 2))

    # -- links --

    def _set_links(self, pairs: list[tuple[str, str]], link: Link, what: str) -> None:
        links = self._world.network.links
        for pair in pairs:
            links[pair] = link
        self._world.note(what, *(f"{source}>{target}" for source, target in pairs))

        async def mend() -> None:
            for pair in pairs:
                if links[pair] is link:
                    links[pair] = Link()
            self._world.note("mended:", what)

        self._later(mend, self._down_s())

    async def _one_way(self) -> None:
        pair = self._rng.choice(sorted(self._world.network.links))
        self._set_links([pair], Link(cut=True), "one way cut")

    async def _partition(self) -> None:
        names = [node.name for node in self._world.nodes]
        side = {name for name in names if self._rng.random() < 0.4}
        pairs = [(a, b) for a, b in sorted(self._world.network.links) if (a in side) != (b in side)]
        if pairs:
            self._set_links(pairs, Link(cut=True), "partition")

    async def _bad_links(self) -> None:
        rng = self._rng
        link = Link(
            loss=rng.choice([0.0, 0.02, 0.2]),
            repeat=rng.choice([0.0, 0.1]),
            late=rng.choice([0.0, 0.01, 0.1]),
            delay_max_s=rng.choice([0.0015, 0.02, 0.3]),
        )
        every = sorted(self._world.network.links)
        pairs = every if rng.random() < 0.5 else [pair for pair in every if rng.random() < 0.3]
        if pairs:
            self._set_links(pairs, link, f"loss {link.loss} late {link.late} repeat {link.repeat}")

    # -- disks --

    def _spoil(self, disk: SimDisk, what: str, field: str) -> None:
        if getattr(disk, field):
            return
        setattr(disk, field, True)
        self._world.note(what, disk.name)

        async def mend() -> None:
            setattr(disk, field, False)
            self._world.note("mended:", what, disk.name)

        self._later(mend, self._down_s())

    async def _full(self) -> None:
        self._spoil(self._rng.choice(self._world.disks), "full", self._rng.choice(["full", "low"]))

    def _and_restart(self, disk: SimDisk) -> None:
        """A device that stopped serving comes back with its process only."""
        node = next(node for node in self._world.nodes if disk in node.disks.values())

        async def restart() -> None:
            if node.running and any(device.status().offline for device in node.devices.values()):
                self._end(node, "kill")

        self._later(restart, self._down_s() + 1.0)

    async def _sync_failure(self) -> None:
        disk = self._rng.choice(self._world.disks)
        self._spoil(disk, "syncs fail", "sync_fails")
        self._and_restart(disk)

    async def _unplugged(self) -> None:
        disk = self._rng.choice(self._world.disks)
        self._spoil(disk, "unplugged", "gone")
        self._and_restart(disk)

    async def _rot(self) -> None:
        if (spot := self.bad_disk.rot()) != "":
            self._world.note("rot", self.bad_disk.name, spot)
