"""An in-process store on the in-memory twins of its devices: the real core, no sockets, no disk."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from proxy.core.blobs import Blobs
from proxy.core.owners import Owners
from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import Buffer, Policy
from proxy.repair.audit import Auditor
from proxy.repair.collect import Collector
from proxy.repair.contract import Worked, Worker
from proxy.repair.throttle import ForegroundLatency, Throttle
from ring.builder import build
from ring.types import Device, default_placements
from runtime.clock import Clock, HybridClock, SystemClock
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, DeviceFault
from storage.memory import MemoryDevice

POLICIES = {
    "replicated-3": Policy("replicated-3", 3, 0),
    "ec-4-2": Policy("ec-4-2", 4, 2, "isa_l_rs_cauchy"),
}


class Grid:
    """Six twins, a ring over them and as many proxies as asked for."""

    def __init__(self, devices: int = 6) -> None:
        self.clock = SystemClock()
        self.failures: list[BaseException] = []
        self.devices = [MemoryDevice(number, self.clock) for number in range(devices)]
        members = [
            Device(n, f"{n + 1:032x}", "r", "z", "node", "unix:x", f"/d{n}", 1.0)
            for n in range(devices)
        ]
        self.ring = build(members, default_placements(devices), 6, 7, cluster_id="0" * 32)

    def store(self, clients: dict[int, DeviceClient] | None = None) -> CoreStore:
        """A proxy of its own over the same devices."""
        randomness = SystemRandomness()
        return CoreStore(
            Placement(self.ring, clients or dict(enumerate(self.devices)), POLICIES),
            POLICIES,
            "replicated-3",
            HybridClock(self.clock, randomness.token(8)),
            self.clock,
            randomness,
            TaskOwner("test", lambda _name, error: self.failures.append(error)),
            part_min_bytes=1024,
        )


class Rounds:
    """Repair workers, each run by hand until it has nothing more to do."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = list(workers)

    async def round(self) -> None:
        """One look of each. One whose device is away would be tried again by the runner."""
        for worker in self._workers:
            try:
                while await worker.work() is Worked.BUSY:
                    continue
            except DeviceFault:
                continue


def throttle(clock: Clock) -> Throttle:
    """One that nothing holds back."""
    return Throttle(ForegroundLatency(clock), clock, 2.0)


def collectors(
    store: CoreStore,
    placement: Placement,
    devices: Iterable[DeviceClient],
    clock: Clock,
    *,
    grace_s: float = 0.0,
    orphan_grace_s: float = 0.0,
) -> Rounds:
    """The workers that remove blobs, of all `devices`."""
    owners, pace = Owners(store.rows), throttle(clock).pace()
    blobs = Blobs(placement, clock, SystemRandomness())
    workers: list[Worker] = []
    for device in devices:
        workers.append(
            Collector(device, owners, blobs, clock, pace, grace_s),
        )
        workers.append(Auditor(device, owners, clock, pace, grace_s, orphan_grace_s))
    return Rounds(workers)


class BytesBody:
    """A body of given pieces; size_bytes as announced, None for chunked."""

    def __init__(self, data: bytes, *, announce: bool = True, piece_bytes: int = 200_000) -> None:
        self.size_bytes = len(data) if announce else None
        self._data = data
        self._piece_bytes = piece_bytes
        self._at = 0

    async def read(self) -> Buffer:
        await asyncio.sleep(0)
        piece = self._data[self._at : self._at + self._piece_bytes]
        self._at += len(piece)
        return piece

    async def read_all(self) -> bytes:
        return self._data

    def finish(self) -> dict[str, str]:
        return {}


async def whole(views: AsyncGenerator[memoryview, None]) -> bytes:
    """All bytes of a stream."""
    return b"".join([bytes(view) async for view in views])
