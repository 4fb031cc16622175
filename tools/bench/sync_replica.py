"""One of the two replicas of `atoll bench sync`, in a process of its own, as on another node.

`python -m tools.bench.sync_replica DIRECTORY SOCKET`: opens a device there and serves it by the node
protocol until its standard input ends. The first line in is the secret; each further line has it write
a checkpoint. Each is answered by a line.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import uvloop

import tools
from runtime.clock import SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner
from storage.device.engine import Device
from storage.node import LoneNode
from storage.wire.client import Peer, WireDevice
from storage.wire.dialer import UnixAddress
from storage.wire.server import WireServer

DEVICE_ID: Final = 1
EPOCH: Final = 1
"""Of the ring, in which it takes calls."""

STARTS_WITHIN_S: Final = 30.0
ENDS_WITHIN_S: Final = 30.0


class Replica:
    """The replica as its user has it: a device to be asked, and its process."""

    def __init__(self, device: WireDevice, process: "subprocess.Popen[bytes]") -> None:
        self.device = device
        self._process = process
        self.pid = process.pid

    async def checkpoint(self) -> None:
        """Have it write one."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"checkpoint\n")
        self._process.stdin.flush()
        await asyncio.to_thread(_answer, self._process)


@contextlib.asynccontextmanager
async def replica(directory: str) -> AsyncGenerator[Replica]:
    """A replica on a new device in `directory`; its process has ended afterwards."""
    clock, randomness = SystemClock(), SystemRandomness()
    tasks = TaskOwner("bench", _failed)
    socket, secret = f"{directory}/replica.sock", randomness.token(32)
    with _process(f"{directory}/device-1", socket) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(secret.hex().encode() + b"\n")
            process.stdin.flush()
            await asyncio.to_thread(_answer, process)
            peer = Peer(UnixAddress(socket), secret, clock, randomness, tasks)
            peer.start()
            await peer.calls.ready(clock.monotonic() + STARTS_WITHIN_S)
            yield Replica(WireDevice(peer, DEVICE_ID, epoch=EPOCH), process)
            peer.close()
            process.stdin.close()
            await asyncio.to_thread(process.wait, ENDS_WITHIN_S)
        finally:
            await tasks.close()
            process.kill()


def _process(directory: str, socket: str) -> "subprocess.Popen[bytes]":
    root = str(Path(next(iter(tools.__path__))).parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tools.bench.sync_replica", directory, socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _answer(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    if process.stdout.readline() != b"done\n":
        raise RuntimeError("the second replica's process has ended")


def _failed(name: str, error: BaseException) -> None:
    raise RuntimeError(f"{name} failed") from error


async def _serve(directory: str, socket: str) -> None:
    clock, randomness = SystemClock(), SystemRandomness()
    secret = bytes.fromhex(sys.stdin.readline())
    device = await Device.open(
        directory, RealDisk(), clock, randomness, device_id=DEVICE_ID, cluster="bench"
    )
    service = LoneNode()
    service.epoch = EPOCH
    server = WireServer({DEVICE_ID: device}, secret, clock, randomness, _failed, service=service)
    try:
        await server.listen_unix(socket)
        print("done", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await device.checkpoint()
            print("done", flush=True)
    finally:
        await server.close()
        await device.close()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2]))
