"""A device's blobs, as their one owner process keeps them: which files are blobs, and which are not.

A blob is there once the index has its entry. Files are written and read by `blob_staging.py` and
`blob_files.py`, in this or another process of the host; only the owner puts a finished staging file in
place (`adopt`), removes blobs, and sets bad ones aside. The engine calls this; what blocks runs on the
executor. What crashed writers left behind is `blob_sweep.py`'s business.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from runtime.clock import Clock
from runtime.disk import Disk
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Buffer, DeviceFault
from storage.device.blob_claims import Claims
from storage.device.blob_errors import is_fatal, read_fault, write_fault
from storage.device.blob_files import BlobFile, load_and_verify, open_blob_file
from storage.device.blob_format import BlobFormatError
from storage.device.blob_index import BlobIndex
from storage.device.blob_paths import BlobPaths
from storage.device.blob_staging import RESERVE_BYTES, StagedBlob
from storage.device.blob_sweep import BlobSweep
from storage.types import BlobEntry, BlobHeader, BlobName, Fault

VERIFY_STEP_BYTES: Final = 4 * 1024 * 1024
"""How much of a blob a whole verification loads at a time."""

T = TypeVar("T")


class BlobStore:
    """The blobs of one device."""

    def __init__(
        self,
        root: str,
        disk: Disk,
        clock: Clock,
        *,
        index: BlobIndex,
        executor: Executor,
        on_failure: Callable[[BaseException], None],
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """root: the device's directory. on_failure: told once, when the device must stop serving.

        reserve_bytes: blobs are refused as FULL where less room is left on the file system.
        """
        self._root = root
        self._paths = BlobPaths(root)
        self._disk = disk
        self._clock = clock
        self._index = index
        self._executor = executor
        self._on_failure = on_failure
        self._reserve_bytes = reserve_bytes
        self._failure: BaseException | None = None
        self._tasks = TaskOwner("blobs", self._task_failed)
        self._running: set[asyncio.Task[Any]] = set()
        self._shelves: set[int] = set()
        self._claims = Claims()
        self.damaged = 0
        """Blobs that were set aside, or whose file was gone, since it was opened."""
        self.sweep = BlobSweep(
            self._paths, disk, clock, index=index, executor=executor, claims=self._claims
        )

    async def start(self) -> None:
        """Make the directories and remove what unfinished writes left. Before any other call."""
        await self._run(self._make_dirs)
        await self.sweep.clear_staging()

    async def close(self) -> None:
        """Wait for what is being put in place, removed or set aside."""
        while self._running:
            await asyncio.wait(set(self._running))
        await self._tasks.close()

    async def create(self, header: BlobHeader) -> BlobWriter:
        """Begin a blob. Raises DeviceFault; ValueError for a name that exists or a bad header."""
        self._check_serving()
        if self._index.blob_entry(header.name) is not None:
            raise ValueError(f"blob {header.name} exists")
        staged = StagedBlob(
            self._root, self._disk, self._executor, header, reserve_bytes=self._reserve_bytes
        )
        return _OwnedWriter(self, staged)

    async def adopt(self, name: BlobName) -> BlobEntry:
        """Make a blob of the finished staging file `name`, by whichever process it was written.

        Durable on return; idempotent. A cancelled call goes on. Raises DeviceFault: ABSENT where there
        is no such staging file, CORRUPT where it is not whole (it is then removed), FULL, OFFLINE.
        """
        return await self._to_the_end("adopt", self._adopt(name))

    async def open(self, name: BlobName) -> BlobReader:
        """Open a committed blob. Raises DeviceFault: ABSENT, CORRUPT, OFFLINE."""
        self._check_serving()
        entry = self._index.blob_entry(name)
        if entry is None:
            raise DeviceFault(Fault.ABSENT, "no such blob")
        try:
            reader = await open_blob_file(self._root, name, self._disk, self._executor, self._report)
        except DeviceFault as fault:
            if fault.fault is Fault.ABSENT:
                await self.report_corrupt(name)
            raise
        if BlobEntry(reader.header, reader.size_bytes) != entry:
            reader.close()
            await self.report_corrupt(name)
            raise DeviceFault(Fault.CORRUPT, "the file is not the blob that the index knows")
        return reader

    async def delete(self, name: BlobName) -> None:
        """Remove a blob; durable on return. Idempotent. A cancelled call goes on."""
        await self._to_the_end("delete", self._delete(name))

    async def report_corrupt(self, name: BlobName, chunk: int | None = None) -> bool:
        """Look at a blob that someone read as bad: at one chunk, or at all of it.

        Where it is bad indeed (or its file is missing) it goes to the quarantine and out of the index.
        True where the blob is not there afterwards.
        """
        return await self._to_the_end("inspect", self._inspect(name, chunk))

    async def verify(self, name: BlobName) -> bool:
        """Whether all of a committed blob is sound; where it is not, it goes the way of
        `report_corrupt`. One that was deleted meanwhile is not bad. What had to be fetched from the
        disk for it is not kept in memory."""
        return not await self._to_the_end("verify", self._inspect(name, None, keep=False, absent=False))

    async def _report(self, name: BlobName, chunk: int | None) -> None:
        await self.report_corrupt(name, chunk)

    def write_failed(self, fault: DeviceFault) -> None:
        """Take note of a writer's fault: one that casts doubt on the device stops it."""
        if is_fatal(fault.__cause__):
            self._fail(fault.__cause__)

    # -- what a cancelled caller must not interrupt ------------------------------------------------

    async def _adopt(self, name: BlobName) -> BlobEntry:
        async with self._claims.hold([name]):
            self._check_serving()
            known = self._index.blob_entry(name)
            if known is not None:
                return known
            entry = await self._run(self._put_in_place, name)
            try:
                await self._index.record_blob(entry)
            except DeviceFault as fault:
                if fault.fault is not Fault.OFFLINE:  # then the next start decides
                    await self._run(self._remove, self._paths.blob(name))
                raise
            return entry

    async def _delete(self, name: BlobName) -> None:
        async with self._claims.hold([name]):
            self._check_serving()
            if self._index.blob_entry(name) is not None:
                await self._index.record_blob_removed(name)
                await self._run(self._remove, self._paths.blob(name))

    async def _inspect(
        self, name: BlobName, chunk: int | None, *, keep: bool = True, absent: bool = True
    ) -> bool:
        """Whether it was set aside; `absent` where it was not there."""
        async with self._claims.hold([name]):
            entry = self._index.blob_entry(name)
            if entry is None:
                return absent
            if await self._run(self._sound, entry, chunk, keep):
                return False
            self.damaged += 1
            # The file first: between the two a reader finds no file, and never the bad one.
            await self._run(self._set_aside, name)
            await self._index.record_blob_removed(name)
            return True

    async def _to_the_end(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        task = self._tasks.spawn(what, work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def _task_failed(self, name: str, error: BaseException) -> None:
        # Faults reach the caller, or nobody where it was cancelled. Anything else is a broken promise.
        if not isinstance(error, DeviceFault | ValueError):
            self._fail(error)

    # -- blocking ----------------------------------------------------------------------------------

    def _make_dirs(self) -> None:
        for directory in (self._paths.blobs, self._paths.staging, self._paths.quarantine):
            self._disk.make_dirs(directory)
        self._disk.sync_dir(self._root)

    def _put_in_place(self, name: BlobName) -> BlobEntry:
        staged = self._paths.staged(name)
        try:
            file = BlobFile.open(self._disk, staged, name)
        except FileNotFoundError as error:
            raise DeviceFault(Fault.ABSENT, "no such staging file") from error
        except BlobFormatError as error:
            self._remove(staged)
            raise DeviceFault(Fault.CORRUPT, str(error)) from error
        file.close()
        self._make_shelf(name.id[0])
        self._disk.rename(staged, self._paths.blob(name))
        self._disk.sync_dir(self._paths.shelf(name.id[0]))
        return BlobEntry(file.header, file.size_bytes)

    def _make_shelf(self, first_byte: int) -> None:
        if first_byte not in self._shelves:
            self._disk.make_dirs(self._paths.shelf(first_byte))
            self._disk.sync_dir(self._paths.blobs)
            self._shelves.add(first_byte)

    def _remove(self, path: str) -> None:
        try:
            self._disk.unlink(path)
        except FileNotFoundError:
            return  # gone is what was asked for

    def _sound(self, entry: BlobEntry, chunk: int | None, keep: bool) -> bool:
        try:
            file = BlobFile.open(self._disk, self._paths.blob(entry.header.name), entry.header.name)
        except BlobFormatError:
            return False
        except OSError as error:
            if read_fault(error).fault is Fault.OFFLINE:
                raise
            return False
        keep = keep or file.resident(file.covering(0, min(1, file.size_bytes)))
        try:
            return BlobEntry(file.header, file.size_bytes) == entry and _chunks_sound(file, chunk)
        finally:
            if not keep:
                file.forget()
            file.close()

    def _set_aside(self, name: BlobName) -> None:
        try:
            self._disk.rename(self._paths.blob(name), self._paths.set_aside(name, self._clock.now_ns()))
        except FileNotFoundError:
            return
        self._disk.sync_dir(self._paths.quarantine)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run blocking work on the executor. Its OSErrors become DeviceFaults."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, work, *arguments)
        except OSError as error:
            if is_fatal(error):
                self._fail(error)
            raise write_fault(error) from error

    def _fail(self, error: BaseException | None) -> None:
        if self._failure is None and error is not None:
            self._failure = error
            self._on_failure(error)

    def _check_serving(self) -> None:
        if self._failure is not None:
            raise DeviceFault(Fault.OFFLINE, f"stopped serving: {self._failure}")


def _chunks_sound(file: BlobFile, chunk: int | None) -> bool:
    every = file.covering(0, file.size_bytes)
    wanted = every if chunk is None or chunk not in every else range(chunk, chunk + 1)
    step = max(1, VERIFY_STEP_BYTES // file.header.chunk_bytes)
    return all(
        load_and_verify(file, wanted[start : start + step]) is None
        for start in range(0, len(wanted), step)
    )


class _OwnedWriter:
    """A blob written by the owner itself; see BlobWriter."""

    def __init__(self, store: BlobStore, staged: StagedBlob) -> None:
        self._store = store
        self._staged = staged

    async def write(self, data: Buffer) -> None:
        try:
            await self._staged.write(data)
        except DeviceFault as fault:
            self._store.write_failed(fault)
            raise

    async def commit(self) -> None:
        try:
            await self._staged.finish()
        except DeviceFault as fault:
            self._store.write_failed(fault)
            raise
        await self._store.adopt(self._staged.name)

    async def abort(self) -> None:
        await self._staged.abort()
