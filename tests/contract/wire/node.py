"""A serving node and a peer of it in one process, for tests of the connection between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.faults import FaultyDevice, Holding
from storage.memory import MemoryDevice
from storage.node import NodeFacts, Progress
from storage.types import RowAnswer, RowMessage
from storage.wire.client import Peer, WireDevice
from storage.wire.connection import Address, Connection, UnixAddress
from storage.wire.server import WireServer

SECRET = b"the cluster's own secret"
CLOCK = SystemClock()


def soon(seconds: float = 10.0) -> float:
    """A deadline."""
    return CLOCK.monotonic() + seconds


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a state that must come."""
    deadline = soon(seconds)
    while not true():
        assert CLOCK.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.005)


class Service:
    """A NodeService that says what a test wants it to."""

    def __init__(self) -> None:
        self.epoch = 0
        self.ring = b""
        self.heard = 0

    def facts(self) -> NodeFacts:
        return NodeFacts("node-b", 1, 2, {1: 1, 2: 1, 3: 0})

    def ring_bytes(self) -> bytes:
        return self.ring

    def progress(self) -> Progress:
        return Progress(self.epoch, 3, 4, 5, 6, 7)

    def report(self) -> bytes:
        return b"all is well"

    def heard_of_newer(self) -> None:
        self.heard += 1


class Node:
    """One server, its devices, and what failed in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.memory = MemoryDevice(1, CLOCK)
        self.carrier = Holding()
        self.held = FaultyDevice(MemoryDevice(2, CLOCK), self.carrier, CLOCK)
        self.devices: dict[int, DeviceClient] = {1: self.memory, 2: self.held}
        self.failures: list[tuple[str, BaseException]] = []
        self.tasks = TaskOwner("test", lambda *failure: self.failures.append(failure))
        self.peers: list[Peer] = []
        self.connections: list[Connection] = []
        self.service = Service()
        self.server = self._server()

    def _server(self) -> WireServer:
        return WireServer(
            self.devices,
            SECRET,
            CLOCK,
            SystemRandomness(),
            lambda *failure: self.failures.append(failure),
            version="1.2.3",
            service=self.service,
        )

    async def start(self) -> None:
        self.server = self._server()
        await self.server.listen_unix(self.path)

    def peer(self, address: Address | None = None, secret: bytes = SECRET) -> Peer:
        """A peer that begins to connect."""
        where = address or UnixAddress(self.path)
        peer = Peer(where, secret, CLOCK, SystemRandomness(), self.tasks, version="1.2.0")
        self.peers.append(peer)
        peer.start()
        return peer

    async def connected(self, address: Address | None = None) -> Peer:
        """A peer that is connected."""
        peer = self.peer(address)
        await peer.calls.ready(soon())
        return peer

    def connection(self, address: Address | None = None, **options: Any) -> Connection:
        """A bare connection."""
        where = address or UnixAddress(self.path)
        connection = Connection(where, SECRET, CLOCK, SystemRandomness(), self.tasks, **options)
        self.connections.append(connection)
        return connection

    async def close(self) -> None:
        for peer in self.peers:
            peer.close()
        for connection in self.connections:
            connection.close()
        await self.tasks.close()
        await self.server.close()


@asynccontextmanager
async def running_node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node that listens."""
    node = Node(str(tmp_path / "node.sock"))
    await node.start()
    try:
        yield node
    finally:
        await node.close()


Answers = list[tuple[RowAnswer, bytes]]


def ask(
    device: WireDevice, message: RowMessage, deadline: float | None = None, payload: bytes = b""
) -> Answers:
    """Send; the list will hold the one answer."""
    answers: Answers = []
    device.send(
        message,
        payload,
        soon() if deadline is None else deadline,
        lambda *answer: answers.append(answer),
    )
    return answers
