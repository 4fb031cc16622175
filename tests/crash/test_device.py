"""Power cuts at every moment of a workload, in many legal states of the disk: what was acknowledged is
there, nothing torn is served, and the device goes on from there."""

import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from storage.contract import DeviceFault
from storage.device.identity import DeviceRefused
from storage.types import (
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    BlobEntry,
    BlobHeader,
    BlobName,
    Count,
    Counts,
    Failed,
    Fault,
    No,
    Ok,
    Page,
    Prepare,
    Read,
    Row,
    RowFlag,
    Scan,
    Sealed,
    Write,
)
from tests.crash.device_rig import DeviceRig, ManualClock
from tests.crash.recording_disk import Crashes, Event, Image, RecordingDisk

SHARDS = (b"a/0", b"a/1", b"meta")
NAMES = [b"n%d" % number for number in range(9)] + [b"long/" + b"x" * 600, b"long/" + b"x" * 601]
SEEDS = range(4)
SAMPLES = 3
STEPS = 100


def body_of(version: bytes, size: int) -> bytes:
    """The payload that belongs to a version, so that a torn or foreign one is seen."""
    return random.Random(version).randbytes(size)


@dataclass
class Sent:
    """What the workload sent: for each row, versions with flags and payload size."""

    rows: dict[tuple[bytes, bytes], dict[bytes, tuple[int, int]]] = field(default_factory=dict)

    def note(self, message: Write | Accept, size: int) -> None:
        row = self.rows.setdefault((message.shard, message.name), {})
        row[message.version] = (message.flags, size)


class Workload:
    """Random work on a device, its acknowledgements recorded among the disk's events."""

    def __init__(self, rig: DeviceRig, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng
        self.sent = Sent()
        self.blobs = 0

    def _ack(self, *what: Any) -> None:
        self.rig.disk.record(Event("ack", what))

    def _deliver(self, message: Any) -> Any:
        def deliver(answer: Any, payload: bytes) -> None:
            self._ack(message, answer)

        return deliver

    def _send(self, message: Any, payload: bytes = b"") -> None:
        if isinstance(message, Write | Accept):
            self.sent.note(message, len(payload))
        deadline = self.rig.clock.monotonic() + 10
        self.rig.device.send(message, payload, deadline, self._deliver(message))

    def _row(self) -> tuple[bytes, bytes]:
        return self.rng.choice(SHARDS), self.rng.choice(NAMES)

    def _store(self, kind: type, version: bytes) -> None:
        shard, name = self._row()
        size = self.rng.choice([0, 3, 700, 1500])
        flags = self.rng.choice([0, 0, 0, RowFlag.TOMBSTONE, RowFlag.BLOBS, RowFlag.UNCOUNTED])
        self._send(kind(shard, name, version, int(flags), size, b"h" * size), body_of(version, size))

    def _overtaken(self) -> None:
        """A write, an older one behind it, and the first once more."""
        shard, name = self._row()
        old, new = self.rig.stamp() + ZERO_STAMP, self.rig.stamp() + ZERO_STAMP
        for version in (new, old, new):
            self._send(Write(shard, name, version, 0, 3, b"hhh"), body_of(version, 3))

    async def step(self) -> None:
        """One random thing."""
        rig, roll = self.rig, self.rng.random()
        rig.clock.seconds += 0.01
        if roll < 0.45:
            self._store(Write, rig.stamp() + ZERO_STAMP)
        elif roll < 0.55:
            self._overtaken()
        elif roll < 0.65:
            self._send(Prepare(*self._row(), rig.stamp()))
        elif roll < 0.75:
            self._store(Accept, rig.stamp() + rig.stamp())
        elif roll < 0.78:
            version = rig.stamp() + ZERO_STAMP
            flags = int(self.rng.choice([0, RowFlag.TOMBSTONE]))
            self._send(Write(SHARDS[0], SEAL_NAME, version, flags, 0, b""))
        elif roll < 0.82:
            await rig.device.checkpoint()
        elif roll < 0.86:
            await self._blob()
        elif roll < 0.87 or (rig.disk.full and roll < 0.95):
            rig.disk.full, rig.disk.room = not rig.disk.full, self.rng.randrange(3000)
            rig.device.look_for_room()
        elif roll < 0.91:
            await self._forget()
        else:
            await rig.send(Count(b"x"))
            await rig.ask(rig.prepare(b"barrier", b"b"))  # waits until all before it is durable

    async def _blob(self) -> None:
        entry = blob_entry(self.blobs)
        self.blobs += 1
        with suppress(DeviceFault):  # the disk may be full just now
            await self.rig.device.record_blob(entry)
            self._ack("blob", entry)
            if self.rng.random() < 0.4:
                await self.rig.device.record_blob_removed(entry.header.name)
                self._ack("no blob", entry)

    async def _forget(self) -> None:
        hints = await self.rig.device.list_garbage(0, 3)
        self._ack("garbage", tuple(hints))
        if hints and not self.rig.disk.full:
            await self.rig.device.forget_garbage([hints[0].seq])


def blob_entry(number: int) -> BlobEntry:
    """A blob's index entry."""
    name = BlobName(number.to_bytes(16, "big"), 0)
    header = BlobHeader(name, 1, "p", b"s", b"n", b"", "", 1, 0, 65536, 5)
    return BlobEntry(header, 100 + number)


async def run_workload(seed: int, *, lies: bool = False) -> tuple[RecordingDisk, Sent]:
    """A recorded run."""
    disk = RecordingDisk()
    disk.lies = lies
    workload = Workload(await DeviceRig.open(disk), random.Random(seed))
    for _ in range(STEPS):
        await workload.step()
    workload.rig.disk.full = False
    await workload.rig.ask(workload.rig.prepare(b"barrier", b"b"))
    return disk, workload.sent


async def check_image(image: Image, acks: list[Any], sent: Sent, start_s: float) -> list[str]:
    """What is wrong with a device started on `image`."""
    disk = RecordingDisk(image)
    try:
        rig = await DeviceRig.open(disk, ManualClock(int(start_s) + 1))
    except DeviceRefused as error:
        return [f"refused: {error}"]
    status = rig.device.status()
    if status.offline:
        return [f"offline: {status.offline}"]
    faults = await check_rows(rig, acks, sent)
    faults += await check_counts(rig)
    faults += check_blobs(rig, acks, rebuilt=not image.index)
    faults += await check_refusals(rig, acks)
    faults += await check_goes_on(rig)
    return faults


async def check_rows(rig: DeviceRig, acks: list[Any], sent: Sent) -> list[str]:
    """Every row is a whole version that was sent, and none older than an acknowledged one."""
    faults = []
    least: dict[tuple[bytes, bytes], bytes] = {}
    for ack in acks:
        match ack:
            case (Write() | Accept() as message, Ok()):
                row = message.shard, message.name
                least[row] = max(least.get(row, ZERO_VERSION), message.version)
    for (shard, name), versions in sent.rows.items():
        answer, payload = await rig.send(Read(shard, name))
        if not isinstance(answer, Row):
            faults.append(f"{name!r}: {answer}")
        elif answer.version < least.get((shard, name), ZERO_VERSION):
            faults.append(f"{name!r}: an acknowledged version is gone")
        elif answer.version != ZERO_VERSION:
            flags, size = versions.get(answer.version, (-1, -1))
            if (answer.flags, answer.size, answer.head) != (flags, size, b"h" * len(answer.head)):
                faults.append(f"{name!r}: not what was sent: {answer}")
            if payload != body_of(answer.version, len(payload)):
                faults.append(f"{name!r}: torn payload")
    return faults


async def check_counts(rig: DeviceRig) -> list[str]:
    """Counts say what a scan finds."""
    faults = []
    for shard in SHARDS:
        counts, page = await rig.ask(Count(shard)), await rig.ask(Scan(shard, b"", b"", 1000))
        assert isinstance(counts, Counts)
        assert isinstance(page, Page)
        hidden = RowFlag.TOMBSTONE | RowFlag.UNCOUNTED
        live = [row for row in page.rows if not row.flags & hidden]
        if (counts.rows, counts.size_bytes) != (len(live), sum(row.size for row in live)):
            faults.append(f"{shard!r}: {counts} but {len(live)} rows")
    return faults


def check_blobs(rig: DeviceRig, acks: list[Any], *, rebuilt: bool) -> list[str]:
    """Blobs that were acknowledged are known, those acknowledged as removed are not."""
    wanted: dict[BlobName, BlobEntry | None] = {}
    for ack in acks:
        match ack:
            case ("blob", entry):
                wanted[entry.header.name] = entry
            case ("no blob", entry):
                wanted[entry.header.name] = None
    known = {entry.header.name: entry for entry in rig.device.list_blob_entries(None, 1000)}
    open_ends = wanted.copy()
    if wanted:  # the removal of the last one may have been under way
        open_ends.pop(max(wanted, key=lambda name: name.id))
    if rebuilt:  # compaction drops removals: a whole replay may bring back orphans, never lose a blob
        open_ends = {name: entry for name, entry in open_ends.items() if entry is not None}
    return [f"{name}: {entry}" for name, entry in open_ends.items() if known.get(name) != entry]


async def check_refusals(rig: DeviceRig, acks: list[Any]) -> list[str]:
    """A promise still binds, what was surely never held is still refused, a seal still holds."""
    faults = []
    for ack in acks:
        match ack:
            case (Prepare(shard, name, ballot), Row()) if shard in SHARDS:
                answer = await rig.ask(Prepare(shard, name, ballot))
                if not isinstance(answer, No | Sealed):
                    faults.append(f"{name!r}: a promise was forgotten: {answer}")
            case (Write() as message, No(_, True)):
                answer = await rig.ask(message, b"late")
                if not isinstance(answer, No | Sealed):
                    faults.append(f"{message.name!r}: a late write was taken: {answer}")
    return faults


async def check_goes_on(rig: DeviceRig) -> list[str]:
    """The device takes a write, and has it after the next crash."""
    late = Write(b"late", b"n", rig.stamp()[:STAMP_BYTES] + ZERO_STAMP, 0, 4, b"")
    answer = await rig.ask(late, b"late")
    if not isinstance(answer, Ok):
        return [f"no write after recovery: {answer}"]
    rig.crash()
    disk = RecordingDisk(rig.disk.crashes(len(rig.disk.events)).least())
    again = await DeviceRig.open(disk, ManualClock(int(rig.clock.seconds) + 1))
    row, payload = await again.send(Read(b"late", b"n"))
    if not isinstance(row, Row) or row.version != late.version or payload != b"late":
        return [f"a write after recovery is gone: {row}"]
    return []


def images(crashes: Crashes, rng: random.Random) -> list[Image]:
    """The ends of what is legal, some in between, and one without its index."""
    found = [crashes.least(), crashes.most(), *(crashes.some(rng) for _ in range(SAMPLES))]
    return [*found, replace(crashes.some(rng), index={})]


async def find_faults(disk: RecordingDisk, sent: Sent, seed: int) -> list[str]:
    """Cut the power after every event from device.toml's on."""
    rng = random.Random(seed)
    faults = []
    for upto in range(1, len(disk.events) + 1):
        if disk.events[upto - 1].kind == "ack":
            continue  # no other state of the disk than before it; the next event sees the ack
        crashes = disk.crashes(upto)
        for number, image in enumerate(images(crashes, rng)):
            found = await check_image(image, crashes.acknowledged(), sent, 1_800_001_000)
            faults += [f"seed {seed}, event {upto}, image {number}: {fault}" for fault in found]
    return faults


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_acknowledged_survives_any_power_cut(seed: int) -> None:
    disk, sent = await run_workload(seed)
    assert await find_faults(disk, sent, seed) == []


async def test_a_disk_that_does_not_sync_is_found_out() -> None:
    disk, sent = await run_workload(0, lies=True)
    faults = await find_faults(disk, sent, 0)
    assert any("acknowledged version is gone" in fault for fault in faults)


async def test_a_failed_sync_is_final() -> None:
    rig = await DeviceRig.open(RecordingDisk())
    rig.disk.sync_fails = True
    answer = await rig.ask(rig.write(b"s", b"n", b"x"))
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.OFFLINE
    rig.disk.sync_fails = False
    again = await rig.ask(Read(b"s", b"n"))
    assert isinstance(again, Failed)
    assert again.fault == Fault.OFFLINE
    assert "input/output error" in rig.device.status().offline
