"""The implementations of the device contract that the conformance suite runs over.

A rig starts one implementation and can do to it what happens to devices: fill it, damage what it
holds, stop it. A test asks the rig's device and never looks behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proxy.core.guarded import Guards
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.memory import MemoryDevice
from storage.types import BlobName, RowAnswer, RowMessage
from storage.wire.client import Peer, WireDevice
from storage.wire.connection import UnixAddress
from storage.wire.local_files import LocalFiles
from storage.wire.server import WireServer

DEVICE_ID = 7
SECRET = b"a cluster secret for tests"


class ShiftedClock(SystemClock):
    """The machine's clocks, the wall clock set ahead by what a test wants."""

    ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns


class Misfortunes(Protocol):
    """What can happen to the device behind a rig."""

    def fill(self) -> None:
        """Leave it no room."""

    def run_low(self) -> None:
        """Leave it only the room that is kept for deletes."""

    def make_room(self) -> None:
        """Give it room again."""

    def damage_row(self, shard: bytes, name: bytes, payload: bytes) -> None:
        """Flip a byte of a row's payload."""

    def damage_blob(self, name: BlobName) -> None:
        """Flip a byte of a committed blob's data."""

    def stop(self) -> None:
        """Let it serve no more."""


@dataclass
class Rig:
    """One device under test."""

    device: DeviceClient
    misfortunes: Misfortunes
    clock: ShiftedClock
    is_local: bool

    async def ask(
        self, message: RowMessage, payload: bytes = b"", deadline_s: float = 10.0
    ) -> tuple[RowAnswer, bytes]:
        """Send a row message and wait for its one answer."""
        answered: asyncio.Future[tuple[RowAnswer, bytes]]
        answered = asyncio.get_running_loop().create_future()

        def deliver(answer: RowAnswer, body: bytes) -> None:
            answered.set_result((answer, body))  # fails where it is called twice

        self.device.send(message, payload, self.deadline(deadline_s), deliver)
        return await answered

    async def answer_to(self, message: RowMessage, payload: bytes = b"") -> RowAnswer:
        """The answer without its payload."""
        return (await self.ask(message, payload))[0]

    def deadline(self, seconds: float = 10.0) -> float:
        """An instant from now."""
        return self.clock.monotonic() + seconds


class MemoryMisfortunes:
    """Switches of the in-memory twin."""

    def __init__(self, device: MemoryDevice) -> None:
        self._device = device

    def fill(self) -> None:
        self._device.set_full(True)

    def run_low(self) -> None:
        self._device.set_full(True)

    def make_room(self) -> None:
        self._device.set_full(False)

    def damage_row(self, shard: bytes, name: bytes, payload: bytes) -> None:
        self._device.corrupt_row(shard, name)

    def damage_blob(self, name: BlobName) -> None:
        self._device.corrupt_blob(name)

    def stop(self) -> None:
        self._device.go_offline("stopped by the test")


@asynccontextmanager
async def memory_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The in-memory twin."""
    clock = ShiftedClock()
    device = MemoryDevice(DEVICE_ID, clock)
    yield Rig(device, MemoryMisfortunes(device), clock, is_local=True)


@asynccontextmanager
async def wired(inner: Rig, socket: Path, files: LocalFiles | None = None) -> AsyncIterator[Rig]:
    """`inner`'s device behind the node protocol on a Unix socket.

    files: the directory that the device's files are in, for a client that uses them.
    """
    clock, randomness = inner.clock, SystemRandomness()
    failures: list[tuple[str, BaseException]] = []
    device_id = inner.device.device_id
    server = WireServer(
        {device_id: inner.device}, SECRET, clock, randomness, lambda *f: failures.append(f)
    )
    await server.listen_unix(str(socket))
    tasks = TaskOwner("suite", lambda *f: failures.append(f))
    peer = Peer(UnixAddress(str(socket)), SECRET, clock, randomness, tasks)
    peer.start()
    await peer.calls.ready(clock.monotonic() + 5)
    try:
        yield Rig(WireDevice(peer, device_id, files), inner.misfortunes, clock, is_local=False)
    finally:
        peer.close()
        await tasks.close()
        await server.close()
    assert failures == []


@asynccontextmanager
async def wire_memory_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The in-memory twin behind the node protocol."""
    async with memory_rig(tmp_path) as inner, wired(inner, tmp_path / "node.sock") as rig:
        yield rig


@asynccontextmanager
async def guarded_memory_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The in-memory twin behind its circuit breaker."""
    async with memory_rig(tmp_path) as inner:
        device = Guards(inner.clock).device(inner.device)
        yield Rig(device, inner.misfortunes, inner.clock, is_local=True)


RIGS: dict[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {
    "guarded-memory": guarded_memory_rig,
    "memory": memory_rig,
    "wire-memory": wire_memory_rig,
}
