"""Writing a blob's bytes: a staging file on a device, by any process of the device's host.

The device's owner makes a blob of the finished file (`blobs.py`); nothing here tells an index. Blocking
work runs on the executor, one job at a time per blob; a job never holds the GIL for long.
"""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final

from runtime.disk import Disk, DiskFile
from storage.contract import Buffer, DeviceFault
from storage.device import blob_format, blob_paths
from storage.device.blob_errors import write_fault
from storage.types import BlobHeader, Fault

BATCH_BYTES: Final = 1024 * 1024
"""A job writes at least this much, except the last one: a hand-over to a thread costs some 50 us."""

BUFFER_MAX_BYTES: Final = 2 * 1024 * 1024
"""How much may wait for a running job before `write` waits, too. The job itself holds as much again."""

WRITEBACK_BYTES: Final = 8 * 1024 * 1024
"""How often the kernel is told to begin writing: the sync at the end then takes half the time."""

RESERVE_BYTES: Final = 128 * 1024 * 1024
"""Blobs leave this much of a file system to rows, deletes and the index, if not told otherwise."""


class StagedBlob:
    """One blob on its way to a device: any writes, then `finish` or `abort`. One caller at a time."""

    def __init__(
        self,
        root: str,
        disk: Disk,
        executor: Executor,
        header: BlobHeader,
        *,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """root: the device's directory; touches no disk yet. reserve_bytes: room to leave there.

        Raises ValueError, or DeviceFault(TOO_LARGE), for a header that no blob can have.
        """
        self.name = header.name
        self.size_bytes = 0
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._file = _StagingFile(root, disk, header, reserve_bytes)
        self._pending: list[memoryview] = []
        self._pending_bytes = 0
        self._flying = False
        self._landing: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._ended = False

    async def write(self, data: Buffer) -> None:
        """See BlobWriter.write. Also raises DeviceFault(TOO_LARGE) above DATA_MAX_BYTES."""
        self._check_usable()
        view = memoryview(data).cast("B")
        if self.size_bytes + len(view) > blob_format.DATA_MAX_BYTES:
            raise DeviceFault(
                Fault.TOO_LARGE, f"more than {blob_format.DATA_MAX_BYTES} bytes in a blob"
            )
        lent = not _immutable(view)
        if lent and len(view) < BATCH_BYTES:
            view, lent = memoryview(bytes(view)), False
        self._queue(view)
        try:
            await self._until(self._idle if lent else self._has_room)
        except asyncio.CancelledError:
            # A lent buffer may change before a thread has read it, and nobody knows what was taken.
            self._fail(DeviceFault(Fault.DEADLINE, "a write was cancelled"))
            raise
        self._raise_failure()

    async def finish(self) -> None:
        """Write the rest and sync: the staging file is then whole and durable.

        Ends this object. Raises DeviceFault; failed or cancelled, it removes the file.
        """
        self._check_usable()
        self._ended = True
        try:
            await self._until(self._landed)
            self._raise_failure()
            await asyncio.shield(self._run(self._file.finish, self._take()))
        except OSError as error:
            await self._discard()
            raise write_fault(error) from error
        except BaseException:
            await self._discard()
            raise

    async def abort(self) -> None:
        """Remove what was written. Idempotent; never raises."""
        if not self._ended:
            self._ended = True
            self._take()
            await self._discard()

    async def _discard(self) -> None:
        try:
            job = self._run(self._file.try_discard)
        except RuntimeError:  # the executor is shut down: the process is ending
            self._file.try_discard()
            return
        # Shielded: where the caller is cancelled (again), the job goes on without it.
        await asyncio.shield(job)

    def _check_usable(self) -> None:
        if self._ended:
            raise ValueError("the blob was already finished or aborted")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, OSError):
            raise write_fault(self._failure) from self._failure
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._take()

    def _queue(self, view: memoryview) -> None:
        if view:
            self.size_bytes += len(view)
            self._pending.append(view)
            self._pending_bytes += len(view)
            self._launch(BATCH_BYTES)

    def _take(self) -> list[memoryview]:
        taken, self._pending, self._pending_bytes = self._pending, [], 0
        return taken

    def _launch(self, due_bytes: int) -> None:
        """Start a job for what is pending, if that is at least `due_bytes` and no job runs."""
        if not self._flying and not self._ended and self._pending_bytes >= due_bytes:
            self._flying = True
            self._run(self._file.append, self._take()).add_done_callback(self._land)

    def _land(self, job: "asyncio.Future[None]") -> None:
        self._flying = False
        if job.cancelled():
            self._fail(DeviceFault(Fault.OFFLINE, "the process is ending"))
        elif (error := job.exception()) is not None:
            self._fail(error)
        self._launch(BATCH_BYTES)
        if self._landing is not None and not self._landing.done():
            self._landing.set_result(None)

    def _landed(self) -> bool:
        return not self._flying

    def _idle(self) -> bool:
        self._launch(1)
        return not self._flying

    def _has_room(self) -> bool:
        return self._pending_bytes < BUFFER_MAX_BYTES

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait for landings until `reached`."""
        while not reached():
            # A future of our own: cancelling who waits must not cancel the job.
            self._landing = self._loop.create_future()
            await self._landing

    def _run(self, work: Callable[..., None], *arguments: Any) -> "asyncio.Future[None]":
        return self._loop.run_in_executor(self._executor, work, *arguments)


def _immutable(view: memoryview) -> bool:
    """True where nobody can change the bytes after `write` returns."""
    return view.readonly and isinstance(view.obj, bytes)


def _read_first(header: BlobHeader) -> bool:
    """Whether readers turn to this copy or fragment first: one replica, or the data fragments.

    Only its pages are worth memory; three copies of everything would push out what is read.
    """
    return header.name.number < (header.k if header.codec else 1)


class _StagingFile:
    """The file; every method blocks. Jobs of one blob exclude each other."""

    def __init__(self, root: str, disk: Disk, header: BlobHeader, reserve_bytes: int) -> None:
        paths = blob_paths.BlobPaths(root)
        self._directory = paths.staging
        self._path = paths.staged(header.name)
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._block = blob_format.pack_header(header)
        self._table = blob_format.ChunkTable(header.chunk_bytes)
        self._read_first = _read_first(header)
        self._mutex = threading.Lock()
        self._file: DiskFile | None = None
        self._discarded = False
        self._written = 0
        self._given_back = 0

    def append(self, pieces: Sequence[memoryview]) -> None:
        with self._mutex:
            if not self._discarded:
                self._append(pieces)

    def finish(self, pieces: Sequence[memoryview]) -> None:
        with self._mutex:
            file = self._append(pieces)
            table = self._table.finish()
            file.append([table, blob_format.pack_footer(self._block, self._data_bytes(), table)])
            file.sync()
            if not self._read_first:
                file.drop_cache()
            file.close()

    def try_discard(self) -> None:
        """Remove the file. Where that fails, the owner's next start or sweep does it."""
        with self._mutex:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                with contextlib.suppress(OSError):
                    self._disk.unlink(self._path)

    def _append(self, pieces: Sequence[memoryview]) -> DiskFile:
        file = self._file or self._create()
        self._table.update(pieces)
        if pieces:
            file.append(pieces)
            self._written += sum(map(len, pieces))
        if self._written - self._given_back >= WRITEBACK_BYTES:
            self._check_room()
            file.start_writeback(self._given_back, self._written - self._given_back)
            self._given_back = self._written
        return file

    def _create(self) -> DiskFile:
        self._check_room()
        try:
            create = self._disk.create if self._read_first else self._disk.create_uncached
            self._file = create(self._path)
        except FileExistsError as error:
            raise ValueError("a blob of this name is being written already") from error
        self._file.append([self._block])
        self._written = blob_format.HEADER_BYTES
        return self._file

    def _check_room(self) -> None:
        if self._disk.free_bytes(self._directory) < self._reserve_bytes:
            raise OSError(errno.ENOSPC, f"less than {self._reserve_bytes} bytes are free")

    def _data_bytes(self) -> int:
        return self._written - blob_format.HEADER_BYTES
