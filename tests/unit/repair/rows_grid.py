"""Twins with rows of which a test says exactly who holds what, and the workers that compare them."""

import random

from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.repair.contract import Worked, Worker
from proxy.repair.sync import Sync
from ring.builder import build
from ring.types import Device, default_placements
from runtime.clock import Clock, HybridClock
from runtime.randomness import SeededRandomness
from storage.memory import MemoryDevice
from storage.types import (
    SEAL_NAME,
    ZERO_STAMP,
    Failed,
    ListShards,
    Pull,
    Pulled,
    PulledRow,
    RowAnswer,
    RowFlag,
    RowMessage,
    ShardList,
    Write,
)
from tests.grid import POLICIES, throttle

POWER = 4


class SetClock:
    """Stands still unless a test sets it."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class RowsGrid:
    """Devices, their ring, and one proxy's rows over them."""

    def __init__(self, devices: int = 3, clock: Clock | None = None) -> None:
        self.clock = clock or SetClock()
        self.devices = [MemoryDevice(number, self.clock) for number in range(devices)]
        members = [
            Device(n, f"{n + 1:032x}", "r", "z", "node", "unix:x", f"/d{n}", 1.0)
            for n in range(devices)
        ]
        self.ring = build(members, default_placements(devices), POWER, 7, cluster_id="0" * 32)
        self.placement = Placement(self.ring, dict(enumerate(self.devices)), POLICIES)
        self.stamps = HybridClock(self.clock, b"process1")
        self.rows = Rows(self.placement, self.stamps, self.clock, SeededRandomness(3))

    def sync(self, *owned: int) -> Sync:
        """The worker of a process that owns these devices, or all."""
        ids = owned or range(len(self.devices))
        pace = throttle(self.clock).pace()
        return Sync(lambda: self.ring, self.placement, self.rows, ids, self.clock, pace)

    def replicas(self, shard: bytes) -> list[MemoryDevice]:
        """The devices of a shard, in the ring's order."""
        ids = self.ring.devices("rows", self.ring.partition(shard))
        return [self.devices[number] for number in ids]

    def tell(self, device: MemoryDevice, message: RowMessage, payload: bytes = b"") -> RowAnswer:
        """One device's answer."""
        return self.both(device, message, payload)[0]

    def both(
        self, device: MemoryDevice, message: RowMessage, payload: bytes
    ) -> tuple[RowAnswer, bytes]:
        """The same with the answer's payload."""
        found: list[tuple[RowAnswer, bytes]] = []
        deadline = self.clock.monotonic() + 10
        device.send(message, payload, deadline, lambda *both: found.append(both))
        return found[0]

    def seal(self, shard: bytes, *devices: MemoryDevice) -> bytes:
        """Seal the shard on these; the seal's version."""
        version = self.stamps.stamp() + ZERO_STAMP
        for device in devices:
            self.tell(device, Write(shard, SEAL_NAME, version, RowFlag.UNCOUNTED, 0, b"seal"))
        return version

    def known(self, device: MemoryDevice, shard: bytes) -> dict[bytes, tuple[PulledRow, bytes]]:
        """All that a device knows of a shard, with payloads."""
        rows: dict[bytes, tuple[PulledRow, bytes]] = {}
        start, more = b"", True
        while more:
            answer, payload = self.both(device, Pull(shard, start, 1000), b"")
            assert isinstance(answer, Pulled), answer
            at = 0
            for row in answer.rows:
                rows[row.name] = row, payload[at : at + row.payload_bytes]
                at += row.payload_bytes
            start, more = answer.next_start, answer.next_start != b""
        return rows

    def versions(self, device: MemoryDevice, shard: bytes) -> dict[bytes, bytes]:
        """Versions by name."""
        return {name: row.version for name, (row, _) in self.known(device, shard).items()}

    def digests(self, device: MemoryDevice) -> dict[bytes, int]:
        """Digests of all shards."""
        answer = self.tell(device, ListShards(0, 0, 0))
        assert isinstance(answer, ShardList), answer
        return {shard.key: shard.digest for shard in answer.shards}

    def plain(self) -> bytes:
        """A new plain version."""
        return self.stamps.stamp() + ZERO_STAMP


async def run(*workers: Worker) -> None:
    """A whole round of each."""
    for worker in workers:
        while await worker.work() is Worked.BUSY:
            continue


def payload_of(version: bytes) -> bytes:
    """What a version always holds."""
    return random.Random(version).randbytes(version[7] % 50)


def failed(answer: RowAnswer) -> bool:
    """Whether it is a fault."""
    return isinstance(answer, Failed)
