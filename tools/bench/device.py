"""`atoll bench device`: what one device engine costs per write, read and scanned row, and how long its
checkpoints hold the event loop. CPU is this process's, all threads, the kernel's share included."""

import argparse
import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable

import uvloop

from runtime.clock import HybridClock, SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.device.engine import Device, DeviceConfig
from storage.types import ZERO_STAMP, Ok, Page, Read, Row, RowAnswer, RowMessage, Scan, Write

CONNECTIONS = 64
PAYLOAD_BYTES = 4096
HEAD = bytes(160)
SHARDS = 16


class Bench:
    """One device under load from CONNECTIONS callers in this process."""

    def __init__(self, device: Device, rows: int) -> None:
        self._device = device
        self._rows = rows
        self._hybrid = HybridClock(SystemClock(), os.urandom(8))
        self._payload = os.urandom(PAYLOAD_BYTES)
        self.figures: dict[str, float] = {}

    def _place(self, number: int) -> tuple[bytes, bytes]:
        scattered = number * 2654435761 % (1 << 32)
        return b"container/%02d" % (scattered % SHARDS), b"photos/2026/%08x.jpg" % scattered

    def _write(self, number: int) -> tuple[RowMessage, bytes]:
        shard, name = self._place(number)
        version = self._hybrid.stamp() + ZERO_STAMP
        return Write(shard, name, version, 0, PAYLOAD_BYTES, HEAD), self._payload

    def _read(self, number: int) -> tuple[RowMessage, bytes]:
        return Read(*self._place(number)), b""

    def _scan(self, number: int) -> tuple[RowMessage, bytes]:
        return Scan(b"container/%02d" % (number % SHARDS), b"", b"", 1000), b""

    async def _each(
        self, make: Callable[[int], tuple[RowMessage, bytes]], count: int, expected: type
    ) -> tuple[float, float]:
        """Send `count` messages, CONNECTIONS at a time; wall and CPU seconds."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state = [0, 0]

        def delivered(answer: RowAnswer, payload: bytes) -> None:
            if type(answer) is not expected:
                raise RuntimeError(f"the device answered {answer}")
            state[1] += 1
            if state[1] == count:
                done.set_result(None)
            else:
                loop.call_soon(send)

        def send() -> None:
            if state[0] == count:
                return
            number, state[0] = state[0], state[0] + 1
            message, payload = make(number)
            self._device.send(message, payload, time.monotonic() + 60, delivered)

        loop = asyncio.get_running_loop()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(min(CONNECTIONS, count)):
            send()
        await done
        return time.perf_counter() - wall, time.process_time() - cpu

    async def _measured(
        self, name: str, make: Callable[[int], tuple[RowMessage, bytes]], count: int, expected: type
    ) -> None:
        wall_s, cpu_s = await self._each(make, count, expected)
        self.figures[f"{name}_per_s"] = count / wall_s
        self.figures[f"{name}_cpu_us"] = cpu_s / count * 1e6

    async def run(self) -> None:
        """All workloads, one after the other."""
        stalls: list[float] = []
        watch = asyncio.get_running_loop().create_task(_watch(stalls))
        await self._measured("write", self._write, self._rows, Ok)
        await self._measured("overwrite", self._write, self._rows // 2, Ok)
        watch.cancel()
        stalls.sort()
        self.figures["stall_p99_ms"] = stalls[int(len(stalls) * 0.99)] * 1e3
        self.figures["stall_max_ms"] = stalls[-1] * 1e3
        await self._measured("read_recent", self._read, self._rows, Row)
        await self._device.checkpoint()
        await self._measured("read", self._read, self._rows, Row)
        pages = 64
        await self._measured("scan", self._scan, pages, Page)
        self.figures["scanned_row_cpu_us"] = self.figures["scan_cpu_us"] / min(
            1000, self._rows // SHARDS
        )


async def _watch(stalls: list[float]) -> None:
    """Note how much later than asked each turn of the loop comes."""
    while True:
        asked = time.perf_counter()
        await asyncio.sleep(0.001)
        stalls.append(max(0.0, time.perf_counter() - asked - 0.001))


async def _bench(directory: str, rows: int) -> dict[str, float]:
    device = await Device.open(
        f"{directory}/device",
        RealDisk(),
        SystemClock(),
        SystemRandomness(),
        device_id=1,
        cluster="bench",
        config=DeviceConfig(),
    )
    bench = Bench(device, rows)
    try:
        await bench.run()
        bench.figures["sync_ms"] = device.status().sync_latency_s * 1e3
    finally:
        await device.close()
    return bench.figures


def run(argv: list[str]) -> int:
    """The command. Exit status 0."""
    parser = argparse.ArgumentParser(prog="atoll bench device", description=__doc__)
    parser.add_argument("--dir", help="where to put the device (default: a temporary directory)")
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    directory = tempfile.mkdtemp(prefix="atoll-bench-", dir=arguments.dir)
    try:
        figures = uvloop.run(_bench(directory, arguments.rows))
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:24} {figure:12,.2f}")
    return 0
