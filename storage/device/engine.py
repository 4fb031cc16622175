"""A device: keeps the DeviceClient contract in this process for one directory.

It wires the parts together, answers for their failures, and does nothing else: rows are decided in
`register.py`, written by `journal.py`, indexed by `checkpoint.py`, found again by `recovery.py`; blob
files are `blobs.py`'s.

One process owns a device; a lock file keeps others away. All methods belong to the loop's thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from runtime.clock import Clock
from runtime.disk import Disk, DiskFile
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.admission import blob_refusal, refusal
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.device import identity
from storage.device.blobs import BlobStore
from storage.device.checkpoint import Checkpointer, Frozen, is_no_room, read_position
from storage.device.committed import CommittedBlobs, encode_entry, name_key
from storage.device.compaction import Compactor, candidates
from storage.device.garbage import GarbageTable, Hint
from storage.device.held import IndexDamagedError
from storage.device.index import open_lmdb
from storage.device.index_contract import Index, OpenIndex
from storage.device.items import Call
from storage.device.journal import Batch, Journal
from storage.device.lane import LaneFactory, ThreadLane, settle
from storage.device.payloads import Payloads
from storage.device.record import SEGMENT_HEADER_BYTES, Kind
from storage.device.recovery import Recovered, Recovery, Replayer
from storage.device.register import RowTable
from storage.device.segments import SegmentFiles, segment_name
from storage.device.shards import split_key
from storage.device.usage import SegmentUsage
from storage.types import (
    Accept,
    BlobEntry,
    BlobHeader,
    BlobName,
    Count,
    Failed,
    Fault,
    GarbageEntry,
    Prepare,
    Read,
    RowMessage,
    Scan,
    Write,
)

ROOM_PROBE_S: Final = 0.5
"""How often a full device looks whether there is room again."""

NOTES_MAX: Final = 20
"""Remarks kept for the status."""

BLOB_THREADS: Final = 4
"""Threads for a device's blob files."""

TICK_S: Final = 0.25
"""How often a busy device looks for passed deadlines and a checkpoint that is due."""


@dataclass(frozen=True)
class DeviceConfig:
    """Limits of one device.

    reserve_bytes: room kept for deletes and the index; below it writes are refused as FULL.
    queue_bytes_max: journal bytes that may wait for the disk before writes are refused.
    compact_below: segments with a smaller share of live bytes are compacted, at compact_bytes_per_s.
    """

    segment_bytes: int = 64 * 1024 * 1024
    checkpoint_rows: int = 16_384
    checkpoint_interval_s: float = 1.0
    reserve_bytes: int = 128 * 1024 * 1024
    queue_bytes_max: int = 256 * 1024 * 1024
    compact_below: float = 0.5
    compact_bytes_per_s: int = 32 * 1024 * 1024


@dataclass(frozen=True)
class DeviceStatus:
    """What `atoll status` says of a device. checkpoint_age_s: None before the first checkpoint."""

    device_id: int
    incarnation: str
    offline: str
    full: bool
    free_bytes: int
    journal_segments: int
    journal_bytes: int
    live_bytes: int
    index_bytes: int
    unindexed_rows: int
    checkpoint_age_s: float | None
    sync_latency_s: float
    corrupt_count: int
    replayed_rows: int
    notes: tuple[str, ...]


class Device:
    """One device, in this process. Made by `open`, ended by `close`."""

    local = True

    def __init__(
        self,
        path: str,
        disk: Disk,
        clock: Clock,
        config: DeviceConfig,
        who: identity.Identity,
        lock: DiskFile,
        lanes: LaneFactory,
        index: Index,
        executor: Executor,
    ) -> None:
        """Private: see `open`."""
        self.device_id = who.device_id
        self.incarnation = who.incarnation
        self._path = path
        self._disk = disk
        self._clock = clock
        self._config = config
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._journal_lane = lanes(f"journal-{who.device_id}")
        self._index_lane = lanes(f"index-{who.device_id}")
        self._read_lane = lanes(f"read-{who.device_id}")
        self._index = index
        self._failed: Failed | None = None
        self._probed_at = 0.0
        self._tick_armed = False
        self._checkpoint_at: float | None = None
        self._checkpoint_idle = asyncio.Event()
        self._checkpoint_idle.set()
        self._replayed = 0
        self._tasks = TaskOwner(f"device-{who.device_id}", self._task_failed)
        self._compacted: dict[int, int] = {}
        self._notes: list[str] = []
        self._journal = Journal(
            disk,
            f"{path}/journal",
            who.incarnation,
            self._journal_lane,
            clock,
            config.segment_bytes,
            self,
            self._loop.call_soon,
        )
        self._build(index)
        self._executor = executor
        self.blobs = BlobStore(
            path, disk, clock, index=self, executor=executor, on_failure=self._blobs_failed
        )

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.stop_serving(f"{name}: {error!r}")

    def _blobs_failed(self, error: BaseException) -> None:
        self.stop_serving(f"blobs: {error}")

    def _build(self, index: Index) -> None:
        """The tables over an index."""
        self._usage = SegmentUsage(index)
        self._garbage = GarbageTable(index, self._usage)
        self._committed = CommittedBlobs(index, self._usage)
        self._payloads = Payloads(
            self._disk, self._journal.files, f"{self._path}/quarantine", self._read_lane
        )
        self._rows = RowTable(
            index,
            self._journal,
            self._clock,
            self,
            self._payloads,
            self._usage,
            self._garbage,
        )
        self._checkpointer = Checkpointer(
            index,
            self._rows,
            [self._garbage.overlay, self._committed.overlay],
            self._usage,
            self._index_lane,
            self._loop.call_soon,
            self._checkpointed,
        )
        self._compactor = Compactor(
            self._journal,
            self.incarnation,
            self._clock,
            self._read_lane,
            self._rows,
            self._garbage,
            self._committed,
            self._payloads.found_bad,
            self._config.compact_bytes_per_s,
        )
        rows = self._rows
        self._handlers: dict[type, Callable[..., None]] = {
            Read: rows.read,
            Write: rows.write,
            Accept: rows.accept,
            Prepare: rows.prepare,
            Scan: rows.scan,
            Count: rows.count,
        }

    # -- opening and closing -------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        path: str,
        disk: Disk,
        clock: Clock,
        randomness: Randomness,
        *,
        device_id: int,
        cluster: str,
        config: DeviceConfig | None = None,
        lanes: LaneFactory = ThreadLane,
        open_index: OpenIndex = open_lmdb,
        executor: Executor | None = None,
    ) -> "Device":
        """Open the device in the directory `path`, or make the directory a new one.

        DeviceRefused: the directory is in use, is another device, or device.toml can't be read.
        OSError: it can't be read or written. A device whose journal lost acknowledged records opens,
        but is offline and says why.
        """
        disk.make_dirs(path)
        try:
            lock = disk.lock(f"{path}/{identity.LOCK_NAME}")
        except BlockingIOError as error:
            raise identity.DeviceRefused(f"{path} is in use by another process") from error
        try:
            who = _identify(path, disk, randomness, device_id, cluster)
            index = _open_index(path, disk, open_index)
            executor = executor or ThreadPoolExecutor(BLOB_THREADS, f"blobs-{device_id}")
            device = cls(path, disk, clock, config or DeviceConfig(), who, lock, lanes, index, executor)
            try:
                device._recover(open_index)
                await device.blobs.start()
            except BaseException:
                await device._end()
                raise
            return device
        except BaseException:
            lock.close()
            raise

    def _recover(self, open_index: OpenIndex) -> None:
        try:
            found = self._replay()
        except IndexDamagedError as error:
            self._index.close()
            _set_index_aside(self._path, self._disk)
            self._note(f"index rebuilt from the journal: {error}")
            self._index = open_index(f"{self._path}/index")
            self._build(self._index)
            found = self._replay()
        self._replayed = found.rows
        if found.bad_payloads:
            self._note(f"{found.bad_payloads} payloads in the journal's tail are damaged")
        if found.fault:
            self.stop_serving(found.fault)
            return
        self._journal.start(found.end)
        self._journal.free_bytes = self._disk.free_bytes(self._path)
        if self._rows.dirty_rows:
            self._arm_tick()

    def _replay(self) -> Recovered:
        position = read_position(self._index)
        recovery = Recovery(
            self._disk,
            self._journal.files,
            self.incarnation,
            Replayer(self._rows, self._garbage, self._committed),
            self._checkpointer.run_now,
        )
        return recovery.run(position, lambda: self._rows.dirty_rows)

    async def close(self) -> None:
        """Take no more calls, write what is queued, write a checkpoint, let go. Idempotent."""
        await self._tasks.close()
        if self._failed is None:
            await self.blobs.close()
            while not self._journal.idle:
                await self._drained()
            await self.checkpoint()
        if self._failed is None or self._failed.text != _CLOSED:
            self._failed = Failed(Fault.OFFLINE, _CLOSED)
            await self._end()

    async def _drained(self) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._journal.follow(Call(lambda: None, done))
        await asyncio.wait([done])
        done.exception()

    async def checkpoint(self) -> None:
        """Write what is applied now into the index, and wait until it is there, or could not be."""
        await self._checkpoint_idle.wait()
        if self._dirty:
            self._checkpoint()
            await self._checkpoint_idle.wait()

    async def _end(self) -> None:
        await self.blobs.close()
        await asyncio.to_thread(self._executor.shutdown)
        for lane in (self._journal_lane, self._index_lane, self._read_lane):
            await lane.close()
        self._journal.close()
        self._index.close()
        self._lock.close()

    # -- row messages --------------------------------------------------------------------------

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        if self._failed is not None:
            deliver(self._failed, b"")
            return
        if self._clock.monotonic() >= deadline:
            deliver(Failed(Fault.DEADLINE), b"")
            return
        if (refused := refusal(message, len(payload), self._clock.now_ns())) is not None:
            deliver(refused, b"")
            return
        try:
            self._handlers[type(message)](message, payload, deadline, deliver)
        except IndexDamagedError as error:
            self._index_damaged(error)
            deliver(Failed(Fault.CORRUPT, str(error)), b"")
        if not self._tick_armed and not self._journal.idle:
            self._arm_tick()

    def refusal(self) -> Failed | None:
        """Failed(FULL) where the disk's room has come down to the reserve (see register.Room)."""
        journal = self._journal
        if journal.free_bytes < self._config.reserve_bytes:
            if self._clock.monotonic() - self._probed_at >= ROOM_PROBE_S:
                self.look_for_room()
            if journal.free_bytes < self._config.reserve_bytes:
                return Failed(Fault.FULL, f"{journal.free_bytes} bytes left")
        if journal.queued_bytes > self._config.queue_bytes_max:
            return Failed(Fault.DEADLINE, "the disk does not keep up")
        return None

    def look_for_room(self) -> None:
        """Ask the disk how much room it has left."""
        self._probed_at = self._clock.monotonic()
        self._journal.free_bytes = self._disk.free_bytes(self._path)

    # -- what the journal tells ------------------------------------------------------------------

    def batch_durable(self, batch: Batch) -> None:
        """See JournalOwner."""
        try:
            for item in batch.items:
                item.apply()
        except IndexDamagedError as error:
            self._index_damaged(error)
        for item in batch.items:
            item.answer()
        if self._rows.dirty_rows >= self._config.checkpoint_rows:
            self._checkpoint()

    def batches_refused(self, batches: list[Batch], error: Exception) -> None:
        """See JournalOwner."""
        self._journal.free_bytes = 0
        self._probed_at = self._clock.monotonic()
        _fail_all(batches, Failed(Fault.FULL, str(error)))

    def journal_broken(self, batches: list[Batch], error: Exception) -> None:
        """See JournalOwner."""
        failed = self.stop_serving(f"journal: {error}")
        _fail_all(batches, failed)

    def stop_serving(self, why: str) -> Failed:
        """Answer everything with OFFLINE and the first reason given, from now on."""
        if self._failed is None:
            self._failed = Failed(Fault.OFFLINE, why)
        return self._failed

    def _index_damaged(self, error: Exception) -> None:
        """Stop serving; the mark lets the next start rebuild the index from the journal."""
        self.stop_serving(f"{error}; the index is rebuilt at the next start")
        path = f"{self._path}/{_INDEX_DAMAGED}"
        self._index_lane.submit(lambda: _mark(self._disk, self._path, path), lambda outcome: None)

    # -- ticks and checkpoints -------------------------------------------------------------------

    @property
    def _dirty(self) -> bool:
        return bool(
            self._rows.dirty_rows or self._garbage.overlay.dirty or self._committed.overlay.dirty
        )

    def _arm_tick(self) -> None:
        self._tick_armed = True
        self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._tick_armed = False
        if self._failed is not None:
            return
        now = self._clock.monotonic()
        for batch in self._journal.batches():
            for item in batch.items:
                if item.deadline <= now:
                    item.expire()
        if self._dirty:
            due = self._checkpoint_at is None or (
                now - self._checkpoint_at >= self._config.checkpoint_interval_s
            )
            if due:
                self._checkpoint()
        if self._dirty or self._checkpointer.running or not self._journal.idle:
            self._arm_tick()

    def _checkpoint(self) -> None:
        if self._checkpointer.running or self._failed is not None:
            return
        self._checkpoint_at = self._clock.monotonic()
        self._checkpoint_idle.clear()
        try:
            self._checkpointer.start(self._journal.applied)
        except IndexDamagedError as error:
            self._checkpoint_idle.set()
            self._index_damaged(error)

    def _checkpointed(self, frozen: Frozen, error: Exception | None) -> None:
        self._checkpoint_idle.set()
        if error is None:
            self._remove_dead(frozen)
            self._compact_some()
        elif is_no_room(error):
            self._journal.free_bytes = 0
        elif isinstance(error, IndexDamagedError):
            self._index_damaged(error)
        else:
            self.stop_serving(f"index: {error}")

    def _remove_dead(self, frozen: Frozen) -> None:
        """Unlink segments that the index, as it now is on disk, does not point to."""
        files = self._journal.files
        for number in sorted(files.known):
            if number < frozen.position.segment and frozen.live.get(number, 0) <= 0:
                self._usage.forget(number)
                files.drop(number)
                unlink = partial(self._disk.unlink, files.path(number))
                self._read_lane.submit(unlink, lambda outcome: None)

    def _compact_some(self) -> None:
        """Begin to compact the emptiest segment, if one is worth it and none is under way."""
        number = self._poorest_segment()
        if number is not None and not len(self._tasks):
            self._tasks.spawn("compact", self.compact(number))

    def _poorest_segment(self) -> int | None:
        files, live, config = self._journal.files, self._usage.live, self._config
        bound = config.compact_below * config.segment_bytes
        poor = [number for number in files.known if live.get(number, 0) < bound]
        fresh = [number for number in poor if self._compacted.get(number) != live.get(number, 0)]
        sizes = {number: files.get(number).size() for number in fresh}
        found = candidates(live, sizes, self._journal.segment, config.compact_below)
        return found[0] if found else None

    async def compact(self, number: int) -> None:
        """Move what is live in a sealed journal segment; the checkpoint after that removes it."""
        self._check()
        try:
            await self._compactor.compact(number)
        except (DeviceFault, OSError) as error:
            self._note(f"compaction of segment {number}: {error}")
        except IndexDamagedError as error:
            self._index_damaged(error)
        self._compacted[number] = self._usage.live.get(number, 0)

    def _note(self, text: str) -> None:
        self._notes = [*self._notes[-NOTES_MAX + 1 :], text]

    # -- the blob index --------------------------------------------------------------------------

    def _check(self, deadline: float | None = None) -> None:
        if self._failed is not None:
            raise DeviceFault(Fault.OFFLINE, self._failed.text)
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeviceFault(Fault.DEADLINE)

    async def _recorded(self, head: bytes, kind: Kind, effect: Callable[[int, int], None]) -> None:
        """Append a record and wait until it is durable and applied."""
        self._check()
        segment, offset, _ = self._journal.append(kind, head, b"")
        done: asyncio.Future[None] = self._loop.create_future()
        self._journal.follow(Call(lambda: effect(segment, offset), done))
        if not self._tick_armed:
            self._arm_tick()
        await done

    async def record_blob(self, entry: BlobEntry) -> None:
        """See BlobIndex."""
        self._check()
        if (refused := self.refusal()) is not None:
            raise DeviceFault(Fault.FULL, refused.text)
        head, key = encode_entry(entry), name_key(entry.header.name)
        await self._recorded(
            head, Kind.BLOB, lambda segment, offset: self._committed.put(head, key, segment, offset)
        )

    async def record_blob_removed(self, name: BlobName) -> None:
        """See BlobIndex."""
        key = name_key(name)
        await self._recorded(key, Kind.BLOB_REMOVED, lambda *_: self._committed.remove(key))

    def blob_entry(self, name: BlobName) -> BlobEntry | None:
        """See BlobIndex."""
        self._check()
        try:
            return self._committed.get(name)
        except IndexDamagedError as error:
            self._index_damaged(error)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error

    def list_blob_entries(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See BlobIndex."""
        self._check()
        try:
            return self._committed.after(after, limit)
        except IndexDamagedError as error:
            self._index_damaged(error)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error

    # -- blobs -----------------------------------------------------------------------------------

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient."""
        self._check(deadline)
        if (refused := blob_refusal(header) or self.refusal()) is not None:
            raise DeviceFault(Fault(refused.fault), refused.text)
        return await self.blobs.create(header)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient."""
        self._check(deadline)
        return await self.blobs.open(name)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient."""
        self._check(deadline)
        await self.blobs.delete(name)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient."""
        return self.list_blob_entries(after, limit)

    # -- garbage ---------------------------------------------------------------------------------

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient. Hints whose manifest can't be read are left out: the auditor finds
        those."""
        self._check()
        try:
            hints = self._garbage.after(after_seq, limit)
        except IndexDamagedError as error:
            self._index_damaged(error)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error
        entries = [await self._garbage_entry(hint) for hint in hints]
        return [entry for entry in entries if entry is not None]

    async def _garbage_entry(self, hint: Hint) -> GarbageEntry | None:
        shard, name = split_key(hint.key)
        manifest = b""
        if hint.manifest.length:
            done: asyncio.Future[bytes | None] = self._loop.create_future()
            self._payloads.read(hint.manifest[1:], lambda data: settle(done, data))
            found = await done
            if found is None:
                return None
            manifest = found
        return GarbageEntry(hint.seq, hint.manifest.replaced_ns, shard, name, hint.version, manifest)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient."""
        self._check()
        if seqs:
            head = msgspec.msgpack.encode(seqs)
            await self._recorded(head, Kind.FORGOTTEN, lambda *_: self._garbage.forget(seqs))

    # -- status ----------------------------------------------------------------------------------

    def status(self) -> DeviceStatus:
        """What there is to say of the device now."""
        numbers = self._journal.files.known
        at = self._checkpoint_at
        return DeviceStatus(
            device_id=self.device_id,
            incarnation=self.incarnation.hex(),
            offline="" if self._failed is None else self._failed.text,
            full=self._journal.free_bytes < self._config.reserve_bytes,
            free_bytes=self._disk.free_bytes(self._path),
            journal_segments=len(numbers),
            journal_bytes=sum(self._journal.files.get(number).size() for number in numbers),
            live_bytes=sum(self._usage.live.values()),
            index_bytes=self._index.size_bytes(),
            unindexed_rows=self._rows.dirty_rows,
            checkpoint_age_s=None if at is None else self._clock.monotonic() - at,
            sync_latency_s=self._journal.sync_latency_s,
            corrupt_count=self._payloads.corrupt_count,
            replayed_rows=self._replayed,
            notes=tuple(self._notes),
        )


_CLOSED: Final = "closed"
_INDEX_DAMAGED: Final = "index-damaged"
_DIRECTORIES: Final = ("journal", "index", "quarantine")


def _fail_all(batches: list[Batch], failed: Failed) -> None:
    for batch in batches:
        for item in batch.items:
            item.fail(failed)


def _identify(
    path: str, disk: Disk, randomness: Randomness, device_id: int, cluster: str
) -> identity.Identity:
    """The device's identity, checked; a new one in a new directory."""
    _clear_unfinished(path, disk)
    found = identity.load(disk, path)
    for name in _DIRECTORIES:
        disk.make_dirs(f"{path}/{name}")
    if found is not None:
        identity.check(found, device_id, cluster, path)
        return found
    incarnation = randomness.token(identity.INCARNATION_BYTES)
    who = identity.Identity(device_id, cluster, incarnation)
    SegmentFiles(disk, f"{path}/journal").create(1, incarnation).close()
    disk.sync_dir(path)
    identity.create(disk, path, who)
    return who


def _clear_unfinished(path: str, disk: Disk) -> None:
    """Take away the first segment that a start which did not get to device.toml left."""
    names = disk.list_dir(path)
    if identity.FILE_NAME in names or "journal" not in names:
        return
    first = segment_name(1)
    if disk.list_dir(f"{path}/journal") == [first]:
        file = disk.open(f"{path}/journal/{first}")
        size = file.size()
        file.close()
        if size <= SEGMENT_HEADER_BYTES:
            disk.unlink(f"{path}/journal/{first}")


def _open_index(path: str, disk: Disk, open_index: OpenIndex) -> Index:
    """The index; a new, empty one in the place of one that can't be read."""
    if _INDEX_DAMAGED in disk.list_dir(path):
        _set_index_aside(path, disk)
    try:
        return open_index(f"{path}/index")
    except IndexDamagedError:
        _set_index_aside(path, disk)
        return open_index(f"{path}/index")


def _set_index_aside(path: str, disk: Disk) -> None:
    taken = set(disk.list_dir(f"{path}/quarantine"))
    number = next(n for n in range(len(taken) + 1) if f"index-{n}" not in taken)
    disk.rename(f"{path}/index", f"{path}/quarantine/index-{number}")
    disk.make_dirs(f"{path}/index")
    disk.sync_dir(path)
    if _INDEX_DAMAGED in disk.list_dir(path):
        disk.unlink(f"{path}/{_INDEX_DAMAGED}")
        disk.sync_dir(path)


def _mark(disk: Disk, path: str, mark: str) -> None:
    """On the lane: leave a mark, durably."""
    disk.create(mark).close()
    disk.sync_dir(path)
