"""`atoll bench sync`: how long two replicas with a million rows take to find and mend what differs.

Two device engines on the disk: one in this process with the repair worker that compares them, one in a
process of its own behind the node protocol, as on another node. They are filled with the same rows;
then some are newer on one of them. `sync` is a round that finds and mends these, `alike` one that finds
nothing; CPU is that of both processes, `replica_cpu` the second one's share of it.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
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
from runtime.tasks import together
from storage.contract import DeviceClient
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
from tools.bench.accounting import process_cpu_s
from tools.bench.sync_replica import EPOCH, Replica, replica

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
    """Two replicas with the same rows, and the worker over them."""

    def __init__(self, near: Device, far: Replica, shards: int, rows: int) -> None:
        self._near, self._far = near, far
        devices: list[DeviceClient] = [near, far.device]
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
        assert ring.epoch == EPOCH
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
        await self._near.checkpoint()
        await self._far.checkpoint()

    async def _both(self, message: RowMessage, payload: bytes, expected: type) -> None:
        answers = await together(
            ask(self._clock, ASK_TIME_S, device, message, payload) for device in self._devices
        )
        for answer, _ in answers:
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

    async def round(self, name: str) -> dict[str, float]:
        """Seconds of a whole round: wall, CPU, and the second replica's CPU."""
        wall, cpu, far = time.perf_counter(), time.process_time(), process_cpu_s(self._far.pid)
        while await self.sync.work() is Worked.BUSY:
            continue
        wall, cpu, far = (
            time.perf_counter() - wall,
            time.process_time() - cpu,
            process_cpu_s(self._far.pid) - far,
        )
        return {f"{name}_s": wall, f"{name}_cpu_s": cpu + far, f"{name}_replica_cpu_s": far}


async def _bench(directory: str, shards: int, rows: int, count: int) -> dict[str, float]:
    figures: dict[str, float] = {"rows": rows, "differing": count}
    near = await Device.open(
        f"{directory}/device-0",
        RealDisk(),
        SystemClock(),
        SystemRandomness(),
        device_id=0,
        cluster="bench",
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(near.close)
        far = await stack.enter_async_context(replica(directory))
        pair = Pair(near, far, shards, rows)
        began = time.perf_counter()
        await pair.fill()
        figures["filled_s"] = time.perf_counter() - began
        await pair.round("first")  # it makes the order of the shards
        await pair.differ(count)
        figures |= await pair.round("sync")
        given = pair.sync.status().counts["rows_given"]
        if given != count:
            raise RuntimeError(f"{given} of {count} rows were given")
        figures |= await pair.round("alike")
    return figures


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
