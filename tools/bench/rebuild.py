"""`atoll bench rebuild`: a device of eight is lost; how fast the other seven make anew what it held.

All devices are folders on one disk, in one process with the store itself: the rate is that of one
process and one disk, which here carry all new homes at once. Half of the data is replicated-3, half
ec-4-2. `share_of_disk` is the rebuilt bytes a second against what the disk takes from one sequential
writer that syncs at the end, the best of three in the same run. It runs twice: alone, no request having
come for so long that background work is free, and beside four clients that put 4 KiB objects, whose
latency is shown calm and during the rebuild; put_4k_p99_ratio is the second to the first, and
beside_share_of_alone what the rebuild keeps of its rate. Blob files are dropped from the page cache
first.
"""

import argparse
import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import uvloop

from proxy.core.blobs import Blobs
from proxy.core.owners import Owners
from proxy.core.placement import Placement
from proxy.core.policies import policy_named
from proxy.core.rows import Rows
from proxy.core.store import CoreStore
from proxy.core.types import Buffer, Container, ObjectAttributes
from proxy.repair.contract import Worked
from proxy.repair.rebuild import Rebuilder
from proxy.repair.throttle import STALE_S, ForegroundLatency, Throttle
from ring.builder import build
from ring.lookup import Ring
from ring.types import ROWS, IdTable, default_placements
from ring.types import Device as Member
from runtime.clock import HybridClock, SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from runtime.tasks import TaskOwner, together
from storage.contract import DeviceClient
from storage.device.engine import Device

DEVICES = 8
LOST = 0
OBJECT_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
SMALL_BYTES = 4096
CLIENTS = 4
CALM_S = 5.0
QUIET_S = STALE_S + 0.5
DISK_BYTES = 512 * 1024 * 1024
PART_POWER = 8
LATENCY_FACTOR = 2.0


class _Body:
    """Random bytes of a size, as a client's body."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes: int | None = size_bytes
        self._left = size_bytes
        self._piece = os.urandom(min(size_bytes, PIECE_BYTES))

    async def read(self) -> Buffer:
        piece = self._piece[: self._left]
        self._left -= len(piece)
        return piece

    async def read_all(self) -> bytes:
        return self._piece[: self._left]

    def finish(self) -> dict[str, str]:
        return {}


def without(ring: Ring, lost: int) -> Ring:
    """The next epoch: another device has each blob seat of the lost one. Rows stay: they are small."""
    rng = np.random.default_rng(1)
    tables: dict[str, IdTable] = {}
    for name, table in ring.tables.items():
        changed = tables[name] = table.copy()
        if name != ROWS:
            for number, partition in zip(*np.nonzero(table == lost), strict=True):
                free = set(range(DEVICES)) - {lost, *changed[:, partition].tolist()}
                changed[number, partition] = rng.choice(sorted(free))
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=ring.next_device_id,
        devices=ring.members,
        placements=ring.placements,
        tables=tables,
        steps=ring.steps,
    )


class Bench:
    """Eight devices, a store over them, and what is measured."""

    def __init__(self, directory: str, mib: int) -> None:
        self._directory = directory
        self._mib = mib
        self._clock = SystemClock()
        self._randomness = SystemRandomness()
        self._devices: dict[int, Device] = {}
        self.figures: dict[str, float] = {}

    async def run(self) -> None:
        """All of it."""
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._fill()
            rates = [await asyncio.to_thread(_disk_rate, self._directory) for _ in range(3)]
            self.figures["disk_mb_s"] = max(rates)
            self._placement.adopt(without(self._ring, LOST))
            lost = {e.header.name for e in await self._devices[LOST].list_blobs(None, 10**6)}
            for name in lost:
                await self._devices[LOST].delete_blob(name, time.monotonic() + 60)
            await asyncio.sleep(QUIET_S)
            await self._rebuild("")
            for device in self._devices.values():  # lost again, for the second time
                for name in lost:
                    await device.delete_blob(name, time.monotonic() + 60)
            await self._beside_clients()

    async def _open(self, stack: AsyncExitStack) -> None:
        members = [
            Member(n, f"{n + 1:032x}", "r", "z", "n", "unix:x", f"{self._directory}/d{n}", 1.0)
            for n in range(DEVICES)
        ]
        self._ring = build(members, default_placements(DEVICES), PART_POWER, 7, cluster_id="0" * 32)
        for member in members:
            device = await Device.open(
                member.path,
                RealDisk(),
                self._clock,
                self._randomness,
                device_id=member.id,
                cluster="bench",
            )
            stack.push_async_callback(device.close)
            self._devices[member.id] = device
        clients: dict[int, DeviceClient] = dict(self._devices)
        policies = {name: policy_named(name) for name in ("replicated-3", "ec-4-2")}
        self._placement = Placement(self._ring, clients, policies)
        self._stamps = HybridClock(self._clock, self._randomness.token(8))
        self._latency = ForegroundLatency(self._clock)
        tasks = TaskOwner("bench", _failed)
        stack.push_async_callback(tasks.close)
        self._store = CoreStore(
            self._placement,
            policies,
            "replicated-3",
            self._stamps,
            self._clock,
            self._randomness,
            tasks,
            note_latency=self._latency.note,
        )

    async def _fill(self) -> None:
        for policy in ("replicated-3", "ec-4-2"):
            container = await self._store.create_container("a", policy, policy=policy)
            count = max(1, self._mib * 1024 * 1024 // 2 // OBJECT_BYTES)
            for first in range(0, count, CLIENTS):
                names = [f"large{n}" for n in range(first, min(count, first + CLIENTS))]
                await together(self._put(container, name, OBJECT_BYTES) for name in names)
        self._small = await self._store.create_container("a", "small")

    async def _put(self, container: Container, name: str, size_bytes: int) -> None:
        await self._store.put_object(container, name, _Body(size_bytes), ObjectAttributes())

    async def _rebuild(self, suffix: str) -> None:
        await asyncio.to_thread(_drop_cache, self._directory)
        throttle = Throttle(self._latency, self._clock, LATENCY_FACTOR)
        rows = Rows(self._placement, self._stamps, self._clock, self._randomness)
        blobs = Blobs(self._placement, self._clock, self._randomness)
        workers = [
            Rebuilder(
                device, self._present, self._placement, blobs, Owners(rows), self._clock,
                throttle.pace(), 0.0,
            )
            for device_id, device in self._devices.items()
            if device_id != LOST
        ]  # fmt: skip
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        await together(_to_the_end(worker) for worker in workers)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        size_bytes = sum(worker.status().done_bytes for worker in workers)
        self.figures[f"rebuild{suffix}_mb_s"] = size_bytes / 1e6 / wall_s
        self.figures[f"rebuild{suffix}_share_of_disk"] = (
            size_bytes / 1e6 / wall_s / self.figures["disk_mb_s"]
        )
        if not suffix:
            self.figures["rebuilt_mb"] = size_bytes / 1e6
            self.figures["rebuilt_blobs"] = sum(worker.rebuilt for worker in workers)
            self.figures["rebuild_cpu_s_per_gb"] = cpu_s / (size_bytes / 1e9)

    def _present(self) -> Ring:
        ring = self._placement.ring
        assert isinstance(ring, Ring)
        return ring

    async def _beside_clients(self) -> None:
        self._note("calm", await self._clients(lambda: asyncio.sleep(CALM_S)))
        self._note("beside", await self._clients(lambda: self._rebuild("_beside")))
        figures = self.figures
        figures["put_4k_p99_ratio"] = figures["put_4k_beside_p99_ms"] / figures["put_4k_calm_p99_ms"]
        figures["beside_share_of_alone"] = figures["rebuild_beside_mb_s"] / figures["rebuild_mb_s"]

    async def _clients(self, meanwhile: Callable[[], Awaitable[None]]) -> list[float]:
        """Seconds of each small PUT while `meanwhile` lasts."""
        took: list[float] = []

        async def client(number: int) -> None:
            for turn in range(10**9):
                begun = time.perf_counter()
                await self._put(self._small, f"{number}-{turn}", SMALL_BYTES)
                took.append(time.perf_counter() - begun)

        tasks = [asyncio.ensure_future(client(number)) for number in range(CLIENTS)]
        try:
            await meanwhile()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(took)

    def _note(self, when: str, took: list[float]) -> None:
        self.figures[f"put_4k_{when}_p50_ms"] = took[len(took) // 2] * 1e3
        self.figures[f"put_4k_{when}_p99_ms"] = took[int(len(took) * 0.99)] * 1e3


def _failed(name: str, error: BaseException) -> None:
    raise RuntimeError(f"{name} failed") from error


async def _to_the_end(worker: Rebuilder) -> None:
    while (ended := await worker.work()) is Worked.BUSY:
        await worker.pace.spend(0.0)
    if ended is not Worked.IDLE:
        raise RuntimeError(f"not everything could be rebuilt: {worker.status().doing}")


def _disk_rate(directory: str) -> float:
    """MB/s of one sequential writer, with the sync at its end."""
    piece, path = os.urandom(4 * 1024 * 1024), f"{directory}/sequential"
    begun = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(DISK_BYTES // len(piece)):
            file.write(piece)
        os.fdatasync(file.fileno())
    took_s = time.perf_counter() - begun
    os.unlink(path)
    return DISK_BYTES / 1e6 / took_s


def _drop_cache(directory: str) -> None:
    """Let the kernel forget the blob files' pages."""
    for path in Path(directory).glob("d*/blobs/*/*"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


async def _bench(directory: str, mib: int) -> dict[str, float]:
    bench = Bench(directory, mib)
    await bench.run()
    return bench.figures


def run(argv: list[str]) -> int:
    """The command. Exit status 0."""
    parser = argparse.ArgumentParser(prog="atoll bench rebuild", description=__doc__)
    parser.add_argument("--dir", help="where to put the devices (default: a temporary directory)")
    parser.add_argument("--mib", type=int, default=1024, help="object data to store (1024)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    directory = tempfile.mkdtemp(prefix="atoll-bench-", dir=arguments.dir)
    try:
        figures = uvloop.run(_bench(directory, arguments.mib))
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:30} {figure:12,.2f}")
    return 0
