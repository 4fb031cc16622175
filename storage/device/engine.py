"""A device: keeps the DeviceClient contract in this process for one directory.

It wires the parts together, answers for their failures, and does nothing else: rows are decided in
`register.py`, shown to other replicas by `exchange.py`, taken away by `eraser.py`, written by
`journal.py`, indexed by `checkpoint.py`, found again by `recovery.py`; blob files are `blobs.py`'s.

One process owns a device; a lock file keeps others away. All methods belong to the loop's thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from runtime.clock import Clock
from runtime.disk import Disk
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.admission import blob_refusal, refusal, require_partitions
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.device import identity, opening
from storage.device.blob_places import BlobPlaces
from storage.device.blobs import BlobStore
from storage.device.committed import encode_entry, name_key
from storage.device.config import DeviceConfig, DeviceStatus
from storage.device.garbage import Hint
from storage.device.held import IndexDamagedError
from storage.device.index import open_lmdb, verify_lmdb
from storage.device.index_contract import Index, OpenIndex, Table
from storage.device.items import Call
from storage.device.journal import Batch, Journal
from storage.device.lane import LaneFactory, ThreadLane, settle
from storage.device.opening import VerifyIndex
from storage.device.record import Kind
from storage.device.recovery import Recovered
from storage.device.scrub_file import ScrubFile
from storage.device.shards import split_key
from storage.device.tables import Tables
from storage.device.upkeep import Upkeep
from storage.types import (
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Changed,
    Clear,
    Count,
    Drop,
    Failed,
    Fault,
    Forget,
    GarbageEntry,
    Install,
    Leaves,
    ListShards,
    Prepare,
    Pull,
    Read,
    RowMessage,
    Scan,
    Summarize,
    Versions,
    Write,
)

__all__ = ["Device", "DeviceConfig", "DeviceStatus"]

ROOM_PROBE_S: Final = 0.5
"""How often a full device looks whether there is room again."""

BLOB_THREADS: Final = 4
"""Threads for a device's blob files."""

NOTES_MAX: Final = 20
"""Remarks kept for the status."""


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
        lanes: LaneFactory,
        executor: Executor,
        holdings: AsyncExitStack,
    ) -> None:
        """Private: see `open`. holdings: what to let go of at the end."""
        self.device_id = who.device_id
        self.incarnation = who.incarnation
        self._path = path
        self._disk = disk
        self._clock = clock
        self._config = config
        self._holdings = holdings
        self._loop = asyncio.get_running_loop()
        self._index_lane = lanes(f"index-{who.device_id}")
        self._read_lane = lanes(f"read-{who.device_id}")
        self._failed: Failed | None = None
        self._final = False
        self._probed_at = 0.0
        self._places: BlobPlaces | None = None
        self._replayed = 0
        self._tasks = TaskOwner(f"device-{who.device_id}", self._task_failed)
        self._notes: list[str] = []
        journal_lane = lanes(f"journal-{who.device_id}")
        self._journal = Journal(
            disk,
            f"{path}/journal",
            who.incarnation,
            journal_lane,
            clock,
            config.segment_bytes,
            self,
            self._loop.call_soon,
        )
        self._index: Index | None = None
        holdings.callback(self._journal.close)
        holdings.callback(self._close_index)
        for lane in (journal_lane, self._index_lane, self._read_lane):
            holdings.push_async_callback(lane.close)
        self._upkeep = Upkeep(
            path,
            disk,
            clock,
            config,
            self._journal,
            self._read_lane,
            on_damage=self._index_damaged,
            on_failure=self.stop_serving,
            on_note=self._note,
        )
        self.scrub_file = ScrubFile(disk, path)
        self.blobs = BlobStore(
            path,
            disk,
            clock,
            index=self,
            executor=executor,
            on_failure=self._blobs_failed,
            reserve_bytes=config.reserve_bytes,
        )

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
        incarnation: bytes = b"",
        config: DeviceConfig | None = None,
        lanes: LaneFactory = ThreadLane,
        open_index: OpenIndex = open_lmdb,
        verify_index: VerifyIndex = verify_lmdb,
        executor: Executor | None = None,
    ) -> "Device":
        """Open the device in the directory `path`; without an `incarnation`, an empty one becomes new.

        DeviceInUse: another process has it. DeviceRefused: it is another device, or device.toml
        can't be read. OSError: it can't be read or written. A device whose journal lost acknowledged
        records opens, but is offline and says why.
        """
        async with AsyncExitStack() as holdings:
            disk.make_dirs(path)
            try:
                holdings.callback(disk.lock(f"{path}/{identity.LOCK_NAME}").close)
            except BlockingIOError as error:
                raise identity.DeviceInUse(f"{path} is in use by another process") from error
            who = opening.identify(path, disk, randomness, device_id, cluster, incarnation)
            if executor is None:
                executor = ThreadPoolExecutor(BLOB_THREADS, f"blobs-{device_id}")
                holdings.push_async_callback(asyncio.to_thread, executor.shutdown)
            device = cls(path, disk, clock, config or DeviceConfig(), who, lanes, executor, holdings)
            await device._recover(open_index, verify_index)
            await device.blobs.start()
            device._holdings = holdings.pop_all()
            return device

    async def _recover(self, open_index: OpenIndex, verify_index: VerifyIndex) -> None:
        """Find the rows again; with a new index where the old one turns out to be damaged."""
        self._open_index = open_index
        self._index, damage = opening.open_sound_index(self._path, self._disk, open_index, verify_index)
        try:
            tables = self._tables_over(self._index)
            found = await tables.replay()
        except IndexDamagedError as error:
            damage = str(error)
            tables, found = await self._replay_all()
        if not found.fault:
            self._journal.start(found.end)
            self.look_for_room()
        self._serve(tables, found, damage)

    async def _replay_all(self) -> tuple[Tables, Recovered]:
        """Put a new index in the place of the damaged one. OSError."""
        self._places = None
        self._close_index()
        opening.set_index_aside(self._path, self._disk)
        self._index = opening.open_durably(self._path, self._disk, self._open_index)
        tables = self._tables_over(self._index)
        return tables, await tables.replay()

    def _close_index(self) -> None:
        if self._index is not None:
            self._index.close()

    def _tables_over(self, index: Index) -> Tables:
        return Tables(
            self._path,
            self._disk,
            self._clock,
            self._config,
            self.incarnation,
            self._journal,
            index,
            self,
            self._index_lane,
            self._read_lane,
            self._upkeep.checkpointed,
            self._index_damaged,
            self._errand_failed,
            self._upkeep.changed,
        )

    def _serve(self, tables: Tables, found: Recovered, damage: str) -> None:
        self._tables = tables
        rows, exchange, eraser = tables.rows, tables.exchange, tables.eraser
        self._handlers: dict[type, Callable[..., None]] = {
            Read: rows.read,
            Write: rows.write,
            Accept: rows.accept,
            Prepare: rows.prepare,
            Scan: rows.scan,
            Count: rows.count,
            Summarize: exchange.summarize,
            ListShards: exchange.list_shards,
            Pull: exchange.pull,
            Install: exchange.install,
            Leaves: exchange.leaves,
            Versions: exchange.versions,
            Forget: eraser.forget,
            Drop: eraser.drop,
            Changed: rows.changed,
            Clear: eraser.clear,
        }
        self._replayed = found.rows
        if damage:
            self._note(f"the index was rebuilt from the journal: {damage}")
        if found.bad_payloads:
            self._note(f"{found.bad_payloads} payloads at the journal's end are damaged")
        if found.fault:
            self.stop_serving(found.fault)
        else:
            self._upkeep.start(tables)

    async def close(self) -> None:
        """Take no more calls, write what is queued, write a checkpoint, let go. Idempotent."""
        await self._tasks.close()
        await self.blobs.close()
        served = self._failed is None
        self._failed, self._final = Failed(Fault.OFFLINE, "closed"), True
        if served:
            while not self._journal.idle:
                await self._drained()
        await self._tables.close()
        await self._upkeep.close()
        await self._holdings.aclose()

    async def flush(self) -> None:
        """Wait until every row message taken so far is durable, or has failed."""
        if self._failed is None:
            await self._drained()

    async def _drained(self) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._journal.follow(Call(lambda: None, done))
        await asyncio.wait([done])
        done.exception()

    async def checkpoint(self) -> None:
        """Write what is applied now into the index, and wait until it is there, or could not be."""
        await self._upkeep.checkpoint()

    # -- row messages --------------------------------------------------------------------------

    def at(self, epoch: int) -> "Device":
        """See DeviceClient.at: the fence is `storage/fence.py`."""
        return self

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
        self._upkeep.arm()

    def refusal(self, *, confirms: bool = False) -> Failed | None:
        """Failed(FULL) where the disk's room has come down to the reserve (see register.Room).

        Confirmations may take half of the reserve: a write that one replica had room for and others
        had not would make its row unreadable until there is room. The other half is for deletes.
        """
        journal = self._journal
        reserve_bytes = self._config.reserve_bytes // (2 if confirms else 1)
        if journal.free_bytes < reserve_bytes:
            if self._clock.monotonic() - self._probed_at >= ROOM_PROBE_S:
                self.look_for_room()
            if journal.free_bytes < reserve_bytes:
                return Failed(Fault.FULL, f"{journal.free_bytes} bytes left")
        if journal.backlog > self._config.backlog_batches_max:
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
            self._tell(item.answer)
        self._upkeep.applied()

    def _tell(self, answer: Callable[..., None], *arguments: object) -> None:
        """Answer one item. A caller whose `deliver` raises is at fault, and alone in it."""
        try:
            answer(*arguments)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"device {self.device_id}: an answer was not taken", "exception": error}
            )

    def batches_refused(self, batches: list[Batch], error: Exception) -> None:
        """See JournalOwner."""
        self._journal.free_bytes = 0
        self._probed_at = self._clock.monotonic()
        self._fail_all(batches, Failed(Fault.FULL, str(error)))

    def journal_broken(self, batches: list[Batch], error: Exception) -> None:
        """See JournalOwner."""
        failed = self.stop_serving(f"journal: {error}")
        self._fail_all(batches, failed)

    def _fail_all(self, batches: list[Batch], failed: Failed) -> None:
        for batch in batches:
            for item in batch.items:
                self._tell(item.fail, failed)

    def stop_serving(self, why: str) -> Failed:
        """Answer everything with OFFLINE and the first reason given, from now on."""
        if self._failed is None or not self._final:
            self._failed, self._final = Failed(Fault.OFFLINE, why), True
            self._upkeep.stop()
        return self._failed

    def _blobs_failed(self, error: BaseException) -> None:
        self.stop_serving(f"blobs: {error}")

    def _index_damaged(self, error: Exception) -> None:
        """Serve nothing until the index has been rebuilt from the journal."""
        if self._failed is None:
            why = f"the index is damaged and being rebuilt: {error}"
            self._failed = Failed(Fault.OFFLINE, why)
            self._upkeep.stop()
            self._tasks.spawn("rebuild", self._rebuild(str(error)))

    async def _rebuild(self, damage: str) -> None:
        await self._upkeep.idle()
        while not self._journal.idle:
            await self._drained()
        await self._tables.close()
        try:
            tables, found = await self._replay_all()
        except (IndexDamagedError, OSError) as error:
            self.stop_serving(f"the index can't be rebuilt: {error}")
            return
        if self._final:
            return
        self._failed = None
        self._serve(tables, found, damage)

    def _errand_failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, IndexDamagedError):
            self._index_damaged(error)
        else:
            self._task_failed(name, error)

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.stop_serving(f"{name}: {error!r}")

    def _note(self, text: str) -> None:
        self._notes = [*self._notes[-NOTES_MAX + 1 :], text]

    # -- the blob index --------------------------------------------------------------------------

    def _check(self, deadline: float | None = None) -> None:
        if self._failed is not None:
            raise DeviceFault(Fault.OFFLINE, self._failed.text)
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeviceFault(Fault.DEADLINE)

    async def _recorded(
        self,
        head: bytes,
        kind: Kind,
        effect: Callable[[int, int], None],
        undo: Callable[[], None] | None = None,
    ) -> None:
        """Append a record and wait until it is durable and applied. undo: where it was not written."""
        self._check()
        segment, offset, _ = self._journal.append(kind, head, b"")
        done: asyncio.Future[None] = self._loop.create_future()
        self._journal.follow(Call(lambda: effect(segment, offset), done, undo))
        self._upkeep.arm()
        await done

    async def record_blob(self, entry: BlobEntry) -> None:
        """See BlobIndex."""
        self._check()
        if (refused := self.refusal()) is not None:
            raise DeviceFault(Fault.FULL, refused.text)
        head, key = encode_entry(entry), name_key(entry.header.name)

        def effect(segment: int, offset: int) -> None:
            self._tables.committed.put(head, key, segment, offset)
            self._place(entry.header.name, entry)

        await self._recorded(head, Kind.BLOB, effect)

    async def record_blob_removed(self, name: BlobName) -> None:
        """See BlobIndex."""
        self._check()
        key, blobs = name_key(name), self._tables.committed

        def effect(_segment: int, _offset: int) -> None:
            blobs.remove(key)
            self._place(name, None)

        blobs.leave(key)
        await self._recorded(key, Kind.BLOB_REMOVED, effect, lambda: blobs.stay(key))

    def blob_entry(self, name: BlobName) -> BlobEntry | None:
        """See BlobIndex."""
        self._check()
        try:
            return self._tables.committed.get(name)
        except IndexDamagedError as error:
            self._index_damaged(error)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error

    def list_blob_entries(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See BlobIndex."""
        self._check()
        try:
            return self._tables.committed.after(after, limit)
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

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient."""
        require_partitions(salt, power, first, count)
        places = await self._places_under(salt)
        return places.groups(power, policy, first, count)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient."""
        require_partitions(salt, power, partition, 1)
        places = await self._places_under(salt)
        names = places.names(power, policy, partition, number, after, limit)
        entries = (self.blob_entry(name) for name in names)
        return [entry for entry in entries if entry is not None]

    async def _places_under(self, salt: int) -> BlobPlaces:
        """The blobs in the ring's order; made where nobody has asked for long."""
        self._check()
        places = self._places
        if places is None or places.salt != salt or places.failed:
            places = self._places = BlobPlaces(salt)
            await places.fill(self.list_blob_entries)
        elif not await places.filled():
            raise DeviceFault(Fault.DEADLINE, "the order of the blobs could not be made")
        self._check()
        return places

    def _place(self, name: BlobName, entry: BlobEntry | None) -> None:
        """A blob was committed, or (None) removed."""
        if self._places is not None:
            self._places.changed(name, entry)
            if self._places.stale:
                self._places = None

    async def verify_blob(self, name: BlobName) -> bool:
        """Whether all of a committed blob is sound; a bad one is set aside, one that was deleted
        meanwhile is not bad. Raises DeviceFault."""
        self._check()
        return await self.blobs.verify(name)

    # -- garbage ---------------------------------------------------------------------------------

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient. Hints whose manifest can't be read are left out: the auditor finds
        those."""
        self._check()
        try:
            hints = self._tables.garbage.after(after_seq, limit)
        except IndexDamagedError as error:
            self._index_damaged(error)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error
        entries = [await self._garbage_entry(hint) for hint in hints]
        return [entry for entry in entries if entry is not None]

    async def _garbage_entry(self, hint: Hint) -> GarbageEntry | None:
        shard, name = split_key(hint.key)
        manifest: bytes | None = b""
        if hint.manifest.length:
            done: asyncio.Future[bytes | None] = self._loop.create_future()
            self._tables.payloads.read(hint.manifest[1:], lambda data: settle(done, data))
            manifest = await done
        if manifest is None:  # perhaps it was moved since
            now = self._tables.garbage.get(hint.seq)
            return None if now in {None, hint} else await self._garbage_entry(now)
        return GarbageEntry(hint.seq, hint.manifest.replaced_ns, shard, name, hint.version, manifest)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient."""
        self._check()
        if seqs:
            head, garbage = msgspec.msgpack.encode(seqs), self._tables.garbage
            garbage.leave(seqs)
            await self._recorded(
                head, Kind.FORGOTTEN, lambda *_: garbage.forget(seqs), lambda: garbage.stay(seqs)
            )

    # -- status ----------------------------------------------------------------------------------

    def status(self) -> DeviceStatus:
        """What there is to say of the device now."""
        numbers = self._journal.files.known
        at = self._upkeep.checkpoint_at
        return DeviceStatus(
            device_id=self.device_id,
            incarnation=self.incarnation.hex(),
            offline="" if self._failed is None else self._failed.text,
            full=self._journal.free_bytes < self._config.reserve_bytes,
            free_bytes=self._disk.free_bytes(self._path),
            journal_segments=len(numbers),
            journal_bytes=sum(self._journal.files.size(number) for number in numbers),
            live_bytes=sum(self._tables.usage.live.values()),
            index_bytes=self._tables.index.size_bytes(),
            unindexed_rows=self._tables.rows.dirty_rows,
            checkpoint_age_s=None if at is None else self._clock.monotonic() - at,
            sync_latency_s=self._journal.sync_latency_s,
            corrupt_count=self._tables.payloads.corrupt_count + self.blobs.damaged,
            replayed_rows=self._replayed,
            notes=tuple(self._notes),
            indexed_rows=self._tables.index.count(Table.ROWS),
            journal_queue=len(self._journal.batches()),
            syncs=self._journal.syncs,
            sync_total_s=self._journal.sync_total_s,
            synced_bytes=self._journal.synced_bytes,
        )
