"""Another node of the cluster as one worker sees it: its processes, and the devices behind them.

Only the address of a node's first process is in the ring. That one says how many there are and which of
them owns a device (`NodeFacts`), anew after each connection, because a node that was started again may
have another number of processes. Until it has said so, the node's devices are unreachable.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from runtime.clock import Clock
from runtime.config import host_and_port
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.node import NodeFacts
from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    RowMessage,
)
from storage.wire.client import Peer, WireDevice

FACTS_WITHIN_S: Final = 5.0

ASK_AGAIN_S: Final = 0.5
"""A node that has not said who it is, though there is a link, is asked again after this long."""

MakePeer = Callable[[str, int], Peer]
"""A peer at a host and port, not started."""


class RemoteNode:
    """The processes of one node, by the address of the first."""

    def __init__(self, address: str, make_peer: MakePeer, clock: Clock, tasks: TaskOwner) -> None:
        self.address = address
        self.facts: NodeFacts | None = None
        self.generation = 0
        """Grows whenever devices may be behind other processes than before."""
        self._host, self._port = host_and_port(address)
        self._make_peer = make_peer
        self._clock = clock
        self._tasks = tasks
        self.first = make_peer(self._host, self._port)
        self._processes = [self.first]
        self.first.calls.on_link = self._linked
        self._links = 0
        self._closed = False

    def start(self) -> None:
        """Begin to connect and stay connected."""
        self.first.start()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        for peer in self._processes:
            peer.close()

    @property
    def processes(self) -> tuple[Peer, ...]:
        """Those that are known."""
        return tuple(self._processes)

    @property
    def connected(self) -> bool:
        """Whether the node has said who it is and is still there."""
        return self.facts is not None and self.first.calls.connected

    def _linked(self) -> None:
        self._links += 1
        self._tasks.spawn(f"ask {self.address}", self._ask(self._links))

    async def _ask(self, link: int) -> None:
        """Ask who it is until it has said so, or this link is lost: the next one asks again. One that
        is only busy keeps its link, and nobody would ever know its devices."""
        while not self._closed and link == self._links and self.first.calls.connected:
            try:
                facts = await self.first.facts(self._clock.monotonic() + FACTS_WITHIN_S)
            except DeviceFault:
                await asyncio.sleep(ASK_AGAIN_S)
                continue
            if not self._closed:
                self._take(facts)
            return

    def _take(self, facts: NodeFacts) -> None:
        if facts == self.facts:
            return
        for number in range(len(self._processes), facts.workers):
            peer = self._make_peer(self._host, self._port + number)
            peer.start()
            self._processes.append(peer)
        for peer in self._processes[facts.workers :]:
            peer.close()
        del self._processes[facts.workers :]
        self.facts = facts
        self.generation += 1

    def owner(self, device_id: int) -> Peer | None:
        """The process that serves a device, where that is known."""
        return None if self.facts is None else self._processes[self.facts.owner(device_id)]


class RemoteDevice:
    """A device of another node: the DeviceClient of the process that owns it now."""

    local = False

    def __init__(self, node: RemoteNode, device_id: int, epoch: int = 0) -> None:
        self.device_id = device_id
        self._node = node
        self._epoch = epoch
        self._generation = -1
        self._wire: WireDevice | None = None

    def at(self, epoch: int) -> "RemoteDevice":
        """See DeviceClient.at."""
        return RemoteDevice(self._node, self.device_id, epoch)

    def _look_up(self) -> None:
        self._generation = self._node.generation
        owner = self._node.owner(self.device_id)
        self._wire = None if owner is None else WireDevice(owner, self.device_id, epoch=self._epoch)

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        if self._generation != self._node.generation:
            self._look_up()
        if self._wire is None:
            deliver(Failed(Fault.UNREACHABLE, self._unknown), b"")
        else:
            self._wire.send(message, payload, deadline, deliver)

    @property
    def _unknown(self) -> str:
        return f"the node at {self._node.address} was not met yet"

    def _device(self) -> WireDevice:
        if self._generation != self._node.generation:
            self._look_up()
        if self._wire is None:
            raise DeviceFault(Fault.UNREACHABLE, self._unknown)
        return self._wire

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        return await self._device().create_blob(header, deadline)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        return await self._device().open_blob(name, deadline)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        await self._device().delete_blob(name, deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        return await self._device().list_blobs(after, limit)

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        return await self._device().group_blobs(salt, power, policy, first, count)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        device = self._device()
        return await device.list_group(salt, power, policy, partition, number, after, limit)

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        return await self._device().list_garbage(after_seq, limit)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        await self._device().forget_garbage(seqs)

    async def status(self) -> dict[str, Any]:
        """What the device says of itself. Raises DeviceFault."""
        return await self._device().status()
