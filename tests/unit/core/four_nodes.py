"""Four nodes in four zones with two devices each, behind breakers, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from proxy.core.guarded import Guards
from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import Container
from ring.builder import build
from ring.types import Device, default_placements
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Buffer, Deliver, DeviceClient, RowDevice
from storage.faults import Direct, FaultyDevice
from storage.memory import MemoryDevice
from storage.types import BlobEntry, BlobHeader, BlobName, Failed, Fault, RowMessage
from tests.grid import POLICIES, whole
from tests.property.core.world import LoopClock, call_at

T = TypeVar("T")

NODES = 4
DEVICES_PER_NODE = 2


def now() -> float:
    return asyncio.get_running_loop().time()


class NodeDevice(FaultyDevice):
    """A device whose process can be stopped: its connections stay, nothing is answered."""

    stopped = False

    async def _while_running(self, work: Callable[[], Awaitable[T]]) -> T:
        if self.stopped:
            await asyncio.get_running_loop().create_future()
        self._check()
        return await work()

    def send_to(
        self, inner: RowDevice, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver
    ) -> None:
        if self.stopped:
            call_at(deadline, lambda: deliver(Failed(Fault.DEADLINE), b""))
        else:
            super().send_to(inner, message, payload, deadline, deliver)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        create = self._inner.create_blob
        return _Writer(await self._while_running(lambda: create(header, deadline)), self)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        opened = self._inner.open_blob
        return _Reader(await self._while_running(lambda: opened(name, deadline)), self)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        await self._while_running(lambda: self._inner.delete_blob(name, deadline))

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        return await self._while_running(lambda: self._inner.list_blobs(after, limit))


class _Writer:
    def __init__(self, inner: BlobWriter, device: NodeDevice) -> None:
        self._inner = inner
        self._device = device

    async def write(self, data: Buffer) -> None:
        await self._device._while_running(lambda: self._inner.write(data))

    async def commit(self) -> None:
        await self._device._while_running(self._inner.commit)

    async def abort(self) -> None:
        await self._inner.abort()


class _Reader:
    def __init__(self, inner: BlobReader, device: NodeDevice) -> None:
        self.header = inner.header
        self.size_bytes = inner.size_bytes
        self._inner = inner
        self._device = device

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        return await self._device._while_running(lambda: self._inner.read(offset, length))

    def close(self) -> None:
        self._inner.close()


class FourNodes:
    """The cluster, seen by one proxy of its own."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.disks = [MemoryDevice(n, self.clock) for n in range(NODES * DEVICES_PER_NODE)]
        self.devices = [NodeDevice(disk, Direct(), self.clock, call_at) for disk in self.disks]
        members = [
            Device(n, f"{n + 1:032x}", "r", f"z{n // 2}", f"n{n // 2}", f"unix:{n // 2}", f"/{n}", 1.0)
            for n in range(len(self.disks))
        ]
        self.ring = build(members, default_placements(len(members)), 6, 7, cluster_id="0" * 32)
        self.guards = Guards(self.clock)
        clients: dict[int, DeviceClient] = {
            device.device_id: self.guards.device(device) for device in self.devices
        }
        self.placement = Placement(self.ring, clients, POLICIES)
        self.failures: list[BaseException] = []
        randomness = SeededRandomness(1)
        self.store = CoreStore(
            self.placement,
            POLICIES,
            "replicated-3",
            HybridClock(self.clock, randomness.token(8)),
            self.clock,
            randomness,
            TaskOwner("test", lambda _name, error: self.failures.append(error)),
            part_min_bytes=1024,
        )

    def of_node(self, node: int) -> list[NodeDevice]:
        return self.devices[node * DEVICES_PER_NODE : (node + 1) * DEVICES_PER_NODE]

    def end(self, node: int, how: str) -> None:
        """how: "killed" (connections are refused) or "stopped" (nothing is answered)."""
        for device in self.of_node(node):
            device.cut(how == "killed")
            device.stopped = how == "stopped"

    def bring_back(self, node: int) -> None:
        for device in self.of_node(node):
            device.cut(False)
            device.stopped = False

    async def read(self, container: Container, name: str) -> bytes:
        opened = await self.store.open_object(container, name)
        try:
            return await whole(opened.stream(0, opened.info.head.size_bytes))
        finally:
            opened.close()

    async def places(self) -> dict[BlobName, int]:
        """Where each copy or fragment is, looked up past all that is broken."""
        return {
            entry.header.name: disk.device_id
            for disk in self.disks
            for entry in await disk.list_blobs(None, 10**6)
        }

    def home(self, name: BlobName, policy: str) -> int:
        return self.ring.devices(policy, self.ring.partition(name.id))[name.number]
