"""`atoll bench sync`: how long two replicas with a million rows take to find and mend what differs.

Two device engines on the disk, in this process, and the repair worker that compares them. They are
filled with the same rows; then some are newer on one of them. CPU is this process's, so of both.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from typing import Final

import uvloop

from proxy.core.asking import ask
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.repair.contract import Worked
from proxy.repair.sync import Sync
from proxy.repair.throttle import ForegroundLatency, Throttle
from ring.builder import build
from ring.types import Device as RingDevice
from ring.types import default_placements
from runtime.clock import HybridClock, SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.device.engine import Device
from storage.types import (
    PULL_ROWS_MAX,
    ZERO_STAMP,
    Install,
    Installed,
    Ok,
    PulledRow,
    RowMessage,
    Write,
)

PART_POWER: Final = 10
HEAD: Final = bytes(160)
PAYLOAD: Final = bytes(64)
FILLED_AT_ONCE: Final = 4
ASK_TIME_S: Final = 60.0


def shard_key(number: int) -> bytes:
    """The key of one of the shards, as those of objects are."""
    return b"o" + number.to_bytes(18, "big")


def names(shard: int, rows: int) -> list[bytes]:
    """The rows' names of a shard."""
    return [b"photos/2026/%04x/%08x.jpg" % (shard, number) for number in range(rows)]


class Pair:
    """Two engines with the same rows, and the worker over them."""

    def __init__(self, devices: list[Device], shards: int, rows: int) -> None:
        self._devices = devices
        self._shards = shards
        self._per_shard = rows // shards
        self._clock = SystemClock()
        randomness = SystemRandomness()
        self._stamps = HybridClock(self._clock, randomness.token(8))
        members = [
            RingDevice(n, f"{n + 1:032x}", "r", "z", "node", "unix:x", f"/d{n}", 1.0) for n in (0, 1)
        ]
        ring = build(members, default_placements(2), PART_POWER, 7, cluster_id="0" * 32)
        placement = Placement(ring, dict(enumerate(devices)), {})
        rows_of = Rows(placement, self._stamps, self._clock, randomness)
        pace = Throttle(ForegroundLatency(self._clock), self._clock, 2.0).pace()
        self.sync = Sync(lambda: ring, placement, rows_of, (0, 1), self._clock, pace)

    async def fill(self) -> None:
        """The same rows on both."""
        version = self._stamps.stamp() + ZERO_STAMP
        slots = asyncio.Semaphore(FILLED_AT_ONCE)

        async def some(shard: bytes, few: list[bytes]) -> None:
            async with slots:
                rows = [
                    PulledRow(name, version, ZERO_STAMP, [], 0, 64, HEAD, len(PAYLOAD)) for name in few
                ]
                await self._both(Install(shard, rows), PAYLOAD * len(rows), Installed)

        async with asyncio.TaskGroup() as group:
            for number in range(self._shards):
                known = names(number, self._per_shard)
                for at in range(0, len(known), PULL_ROWS_MAX):
                    few = known[at : at + PULL_ROWS_MAX]
                    group.create_task(some(shard_key(number), few))
        for device in self._devices:
            await device.checkpoint()

    async def _both(self, message: RowMessage, payload: bytes, expected: type) -> None:
        for device in self._devices:
            answer, _ = await ask(self._clock, ASK_TIME_S, device, message, payload)
            if type(answer) is not expected:
                raise RuntimeError(f"the device answered {answer}")

    async def differ(self, count: int) -> None:
        """Newer rows on one of them, spread over the shards."""
        for number in range(count):
            shard = number * 7 % self._shards
            name = names(shard, self._per_shard)[number * 31 % self._per_shard]
            version = self._stamps.stamp() + ZERO_STAMP
            message = Write(shard_key(shard), name, version, 0, 64, HEAD)
            answer, _ = await ask(self._clock, ASK_TIME_S, self._devices[number % 2], message, PAYLOAD)
            if type(answer) is not Ok:
                raise RuntimeError(f"the device answered {answer}")

    async def round(self) -> tuple[float, float]:
        """Wall and CPU seconds of a whole round."""
        wall, cpu = time.perf_counter(), time.process_time()
        while await self.sync.work() is Worked.BUSY:
            continue
        return time.perf_counter() - wall, time.process_time() - cpu


async def _bench(directory: str, shards: int, rows: int, count: int) -> dict[str, float]:
    figures: dict[str, float] = {"rows": rows, "differing": count}
    devices = [await _opened(f"{directory}/device-{number}", number) for number in (0, 1)]
    try:
        pair = Pair(devices, shards, rows)
        began = time.perf_counter()
        await pair.fill()
        figures["filled_s"] = time.perf_counter() - began
        await pair.round()  # the first one makes the order of the shards
        await pair.differ(count)
        figures["sync_s"], figures["sync_cpu_s"] = await pair.round()
        given = pair.sync.status().counts["rows_given"]
        if given != count:
            raise RuntimeError(f"{given} of {count} rows were given")
        figures["alike_s"], figures["alike_cpu_s"] = await pair.round()
    finally:
        for device in devices:
            await device.close()
    return figures


async def _opened(path: str, number: int) -> Device:
    return await Device.open(
        path, RealDisk(), SystemClock(), SystemRandomness(), device_id=number, cluster="bench"
    )


def run(argv: Iterable[str]) -> int:
    """The command. Exit status 0."""
    parser = argparse.ArgumentParser(prog="atoll bench sync", description=__doc__)
    parser.add_argument("--dir", help="where to put the devices (default: a temporary directory)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--differing", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(list(argv))
    directory = tempfile.mkdtemp(prefix="atoll-bench-", dir=arguments.dir)
    try:
        work = _bench(directory, arguments.shards, arguments.rows, arguments.differing)
        figures = uvloop.run(work)
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:24} {figure:12,.3f}")
    return 0
