"""Stores over a bad network in virtual time: one seed decides everything, nothing ever really waits.

`run` plays a coroutine on an event loop whose clock jumps to the next timer. A `World` is the ring of
`tests.grid` on in-memory devices, and each of its proxies reaches them through links of its own that
can be slow, lossy, cut or scripted.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import Policy
from ring.builder import build
from ring.lookup import Ring
from ring.types import Device, default_placements
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.faults import Arrive, FaultyDevice
from storage.memory import MemoryDevice
from storage.types import RowAnswer, RowMessage
from tests.grid import POLICIES, Rounds, collectors

T = TypeVar("T")

START_NS = 1_700_000_000 * 10**9
PART_MIN_BYTES = 1024


class Stuck(Exception):
    """Every task waits for something that will never come."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: the time that it was to wait passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Stuck
        if not ready and timeout:
            self.now += timeout
        return ready


class _Inline(Executor):
    """Runs work at once, so that threads can't change the order of events."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.set_debug(False)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        return super().run_in_executor(_Inline(), func, *args)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Play `work` to its end in virtual time."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(work)


class LoopClock:
    """The running loop's time, and a wall clock `ahead_s` beside it."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now_ns(self) -> int:
        return START_NS + int((self.monotonic() + self.ahead_s) * 1e9)


def call_at(when: float, callback: Callable[[], None]) -> None:
    """What FaultyDevice and carriers wait with."""
    asyncio.get_running_loop().call_at(when, callback)


class Link:
    """A carrier with random delays; `script` may take a message's fate into its own hands.

    script: called with (device id, message, arrive); True where it has seen to the message.
    """

    def __init__(self, randomness: random.Random, delay_max_s: float) -> None:
        self._random = randomness
        self.delay_max_s = delay_max_s
        self.loss = 0.0
        self.duplicate = 0.0
        self.script: Callable[[int, RowMessage | RowAnswer, Arrive], bool] | None = None

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: Arrive) -> None:
        if self.script is not None and self.script(device_id, message, arrive):
            return
        if self._random.random() < self.loss:
            return
        self._later(arrive)
        if self._random.random() < self.duplicate:
            self._later(arrive)

    def _later(self, arrive: Arrive) -> None:
        asyncio.get_running_loop().call_later(self._random.uniform(0, self.delay_max_s), arrive)


class World:
    """`devices` in-memory devices and any number of proxies; to be made inside `run`."""

    def __init__(self, seed: int = 0, *, devices: int = 6, delay_max_s: float = 0.001) -> None:
        self.random = random.Random(seed)
        self.delay_max_s = delay_max_s
        self.clock = LoopClock()
        self.devices = [MemoryDevice(number, self.clock) for number in range(devices)]
        members = [
            Device(n, f"{n + 1:032x}", "r", "z", "node", "unix:x", f"/d{n}", 1.0)
            for n in range(devices)
        ]
        placements = default_placements(devices)
        self.ring = build(members, placements, 6, 7, cluster_id="0" * 32)
        self.policies = {p.name: p for p in self._policies(placements)}
        self.failures: list[BaseException] = []
        self.links: list[Link] = []
        self.wires: list[dict[int, FaultyDevice]] = []
        self.tasks: list[TaskOwner] = []
        self.placements: list[Placement] = []
        self.wire: type[FaultyDevice] = FaultyDevice

    def _policies(self, placements: Any) -> list[Policy]:
        return [
            POLICIES.get(p.name) or Policy(p.name, p.replicas, 0)
            for p in placements
            if p.name != "rows"
        ]

    def proxy(self, *, ahead_s: float = 0.0) -> CoreStore:
        """A proxy of its own, with a link of its own to every device and a clock `ahead_s` fast."""
        link = Link(self.random, self.delay_max_s)
        clock = LoopClock(ahead_s)
        wires = {device.device_id: self.wire(device, link, clock, call_at) for device in self.devices}
        randomness = SeededRandomness(self.random.getrandbits(64))
        clients: dict[int, DeviceClient] = dict(wires)
        tasks = TaskOwner("test", lambda _name, error: self.failures.append(error))
        self.links.append(link)
        self.wires.append(wires)
        self.tasks.append(tasks)
        placement = Placement(self.ring, clients, self.policies)
        self.placements.append(placement)
        return CoreStore(
            placement,
            self.policies,
            next(iter(self.policies)),
            HybridClock(clock, randomness.token(8)),
            clock,
            randomness,
            tasks,
            part_min_bytes=PART_MIN_BYTES,
        )

    def collector(
        self, store: CoreStore, *, grace_s: float = 0.0, orphan_grace_s: float = 0.0
    ) -> Rounds:
        """Collectors and auditors of all devices that read rows through `store`."""
        clients: dict[int, DeviceClient] = {device.device_id: device for device in self.devices}
        placement = Placement(self.ring, clients, self.policies)
        return collectors(
            store,
            placement,
            self.devices,
            self.clock,
            grace_s=grace_s,
            orphan_grace_s=orphan_grace_s,
        )

    def adopt(self, ring: Ring) -> None:
        """Go on in a newer ring, everywhere at once."""
        self.ring = ring
        for placement in self.placements:
            placement.adopt(ring)

    def row_devices(self, shard: bytes) -> tuple[int, ...]:
        """Ids of the devices that hold a shard's rows, in the order in which a proxy asks them."""
        return tuple(self.ring.devices("rows", self.ring.partition(shard)))

    async def blob_ids(self) -> set[bytes]:
        """Ids of all blobs of which any device holds a copy."""
        return {e.header.name.id for d in self.devices for e in await d.list_blobs(None, 10**6)}

    async def idle(self) -> None:
        """Until no proxy has a background task left."""
        while any(map(len, self.tasks)):
            await asyncio.sleep(0.01)
