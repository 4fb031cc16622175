"""Random work on a device: rows of all kinds, seals, blobs, hints, checkpoints, compaction and full
disks, much of it at once. What the device answers is recorded among the disk's events."""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from storage.contract import BlobWriter, DeviceFault
from storage.types import (
    RECLAIM_AGE_MIN_S,
    SEAL_NAME,
    ZERO_STAMP,
    Accept,
    BlobEntry,
    BlobHeader,
    BlobName,
    Count,
    Drop,
    Failed,
    Fault,
    Forget,
    Install,
    Prepare,
    PulledRow,
    Read,
    RowFlag,
    Write,
)
from tests.crash.crash_images import Event
from tests.crash.device_rig import DeviceRig
from tests.crash.ledger import body_of

SHARDS = (b"a/0", b"a/1", b"meta")
NAMES = [b"n%d" % number for number in range(9)] + [b"long/" + b"x" * 600, b"long/" + b"x" * 601]
BLOBS = [BlobName(bytes([first]) * 16, number) for first in (7, 8) for number in (0, 1)]
SIZES = (0, 3, 700, 1500)
TURNS_MAX = 12
"""How many turns of the loop a step waits at most."""


class Workload:
    """Steps on a device. Nothing of it depends on anything but the seed."""

    def __init__(self, rig: DeviceRig, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng
        self._running: set[asyncio.Task[None]] = set()
        self._busy: set[BlobName] = set()
        self._blobs = 0
        self._there: set[BlobName] = set()
        self._tombstones: dict[tuple[bytes, bytes], bytes] = {}
        self.corrupt: list[Any] = []

    def tell(self, *what: Any) -> None:
        """Record something that was sent, or answered."""
        self.rig.disk.record(Event("ack", what))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on beside the next steps."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settle(self) -> None:
        """Wait for what goes on; the disk has room."""
        self.room(full=False)
        while self._running:
            await asyncio.gather(*self._running)
        await self.barrier()
        await self.rig.quiet()
        assert self.corrupt == []

    def room(self, *, full: bool) -> None:
        """The disk is full from now on, or has room."""
        self.rig.disk.full, self.rig.disk.room = full, self.rng.randrange(3000)
        self.rig.device.look_for_room()
        self.rig.device.status()

    async def barrier(self) -> None:
        """Wait until all that was sent is durable."""
        await self.rig.send(Count(b"x"))
        await self.rig.ask(self.rig.prepare(b"barrier", b"b"))

    # -- rows --------------------------------------------------------------------------------------

    def send(self, message: Any, payload: bytes = b"") -> None:
        """Send a message; its answer is recorded when it comes."""
        self.tell("sent", message, len(payload))
        deadline = self.rig.clock.monotonic() + 10
        self.rig.device.send(message, payload, deadline, partial(self._answered, message))

    def _answered(self, message: Any, answer: Any, payload: bytes) -> None:
        if isinstance(answer, Failed) and answer.fault == Fault.CORRUPT:
            self.corrupt.append((message, answer))
        self.tell("answer", message, answer)

    def _row(self) -> tuple[bytes, bytes]:
        return self.rng.choice(SHARDS), self.rng.choice(NAMES)

    def store(self, kind: type, version: bytes) -> None:
        """A write or an accept of any row."""
        shard, name = self._row()
        size = self.rng.choice(SIZES)
        flags = self.rng.choice([0, 0, 0, RowFlag.TOMBSTONE, RowFlag.BLOBS, RowFlag.UNCOUNTED])
        if flags == RowFlag.TOMBSTONE:
            self._tombstones[shard, name] = version
        self.send(kind(shard, name, version, int(flags), size, b"h" * size), body_of(version, size))

    def overtaken(self) -> None:
        """A write, an older one behind it, and the first once more."""
        shard, name = self._row()
        old, new = self.rig.stamp() + ZERO_STAMP, self.rig.stamp() + ZERO_STAMP
        for version in (new, old, new):
            self.send(Write(shard, name, version, 0, 3, b"hhh"), body_of(version, 3))

    def seal(self) -> None:
        """Seal or unseal a shard."""
        version = self.rig.stamp() + ZERO_STAMP
        flags = int(self.rng.choice([0, RowFlag.TOMBSTONE]))
        self.send(Write(SHARDS[0], SEAL_NAME, version, flags, 0, b""))

    def manifest(self) -> None:
        """A row that names blobs, so that its successor leaves a hint."""
        shard, name = self._row()
        version = self.rig.stamp() + ZERO_STAMP
        flags = int(RowFlag.BLOBS)
        self.send(Write(shard, name, version, flags, 900, b"h"), body_of(version, 900))

    def reclaim(self) -> None:
        """Two hours later: all that seem to be tombstones are reclaimed in one shard."""
        self.rig.clock.seconds += 2 * RECLAIM_AGE_MIN_S
        shard = self.rng.choice(SHARDS)
        rows = [(name, version) for (key, name), version in self._tombstones.items() if key == shard]
        before_ns = self.rig.clock.now_ns() - int(RECLAIM_AGE_MIN_S * 1e9)
        if rows:
            self.send(Forget(shard, rows, before_ns))

    def drop(self) -> None:
        """A shard is removed, and written anew at once."""
        shard = self.rng.choice(SHARDS)
        self.send(Drop(shard))
        if self.rng.random() < 0.5:
            self.store(Write, self.rig.stamp() + ZERO_STAMP)

    def install(self) -> None:
        """Rows of other replicas are taken over."""
        shard, rows, payload = self.rng.choice(SHARDS), [], b""
        for name in self.rng.sample(NAMES, 3):
            version, size = self.rig.stamp() + ZERO_STAMP, self.rng.choice(SIZES)
            flags = int(self.rng.choice([0, RowFlag.TOMBSTONE]))
            promised = self.rng.choice([ZERO_STAMP, self.rig.stamp()])
            rows.append(PulledRow(name, version, promised, [], flags, size, b"h", size))
            payload += body_of(version, size)
        self.send(Install(shard, rows), payload)

    # -- blobs and hints ---------------------------------------------------------------------------

    async def blob(self, name: BlobName) -> None:
        """Write a blob, or remove it where it is there."""
        if name in self._busy:
            return
        self._busy.add(name)
        try:
            await (self._remove(name) if name in self._there else self._write(name))
        finally:
            self._busy.discard(name)

    async def _write(self, name: BlobName) -> None:
        self._blobs += 1
        upload = b"%d" % self._blobs
        now_ns = self.rig.clock.now_ns()
        header = BlobHeader(name, 1, "p", b"s", b"n", upload, "", 1, 0, 512, now_ns)
        size = self.rng.choice([1, 600, 3000])
        entry = BlobEntry(header, size)
        try:
            writer = await self.rig.device.create_blob(header, self.rig.clock.monotonic() + 10)
        except (DeviceFault, ValueError):  # offline, or there by now
            return
        self.tell("blob begins", entry)
        try:
            await self._fill(writer, body_of(upload, size))
            self._there.add(name)
            self.tell("blob", entry)
        except DeviceFault as fault:
            await writer.abort()
            if fault.fault is Fault.FULL:
                self.tell("no blob", entry)

    async def _fill(self, writer: BlobWriter, data: bytes) -> None:
        cut = self.rng.randrange(len(data) + 1)
        await writer.write(data[:cut])
        await writer.write(data[cut:])
        await writer.commit()

    async def _remove(self, name: BlobName) -> None:
        self.tell("removal", name)
        with suppress(DeviceFault):  # the disk may be full just now
            await self.rig.device.delete_blob(name, self.rig.clock.monotonic() + 10)
            self._there.discard(name)
            self.tell("removed", name)

    async def forget(self, *, always: bool = False) -> None:
        """Look at the hints, and perhaps deal with the oldest."""
        hints = await self.rig.device.list_garbage(0, 5)
        self.tell("hints", tuple(hints))
        seqs = [hint.seq for hint in hints[:2]]
        if seqs and (always or self.rng.random() < 0.5):
            self.tell("forget", seqs)
            with suppress(DeviceFault):
                await self.rig.device.forget_garbage(seqs)
                self.tell("forgotten", seqs)

    async def crossing(self) -> None:
        """Compaction, and beside it what touches the records that it moves."""
        await self.rig.device.checkpoint()
        for _ in range(self.rng.randrange(TURNS_MAX)):
            await asyncio.sleep(0)
        for name in BLOBS:
            if name in self._there and self.rng.random() < 0.5:
                self.begin(self.blob(name))
        self.begin(self.forget())
        for _ in range(4):
            self.store(Write, self.rig.stamp() + ZERO_STAMP)

    def burst(self) -> None:
        """More writes than the disk has room for."""
        self.room(full=True)
        for _ in range(4):
            self.store(Write, self.rig.stamp() + ZERO_STAMP)

    # -- steps -------------------------------------------------------------------------------------

    async def step(self) -> None:
        """One random thing."""
        rig, roll = self.rig, self.rng.random()
        rig.clock.seconds += 0.01
        if roll < 0.28:
            self.store(Write, rig.stamp() + ZERO_STAMP)
        elif roll < 0.29:
            self.drop()
        elif roll < 0.31:
            self.reclaim()
        elif roll < 0.32:
            self.install()
        elif roll < 0.40:
            self.overtaken()
        elif roll < 0.48:
            self.manifest()
        elif roll < 0.56:
            self.send(Prepare(*self._row(), rig.stamp()))
        elif roll < 0.64:
            self.store(Accept, rig.stamp() + rig.stamp())
        elif roll < 0.66:
            self.seal()
        elif roll < 0.70:
            for shard in SHARDS:
                self.send(Read(shard, self.rng.choice(NAMES)))
        elif roll < 0.73:
            self.begin(rig.device.checkpoint())
        elif roll < 0.78:
            self.begin(self.crossing())
        elif roll < 0.86:
            self.begin(self.blob(self.rng.choice(BLOBS)))
        elif roll < 0.90 and rig.disk.full:
            self.room(full=False)
        elif roll < 0.88:
            self.burst()
        elif roll < 0.94:
            self.begin(self.forget())
        else:
            await self.barrier()
        for _ in range(self.rng.choice([0, 0, 1, TURNS_MAX])):
            await asyncio.sleep(0)
