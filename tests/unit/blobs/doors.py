"""Doors a test can shut: a disk that fails, an executor that waits, a clock set by hand."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtime.disk import Buffer, DiskFile, RealDisk
from storage.contract import DeviceFault
from storage.device.blobs import BlobStore
from storage.types import BlobEntry, BlobHeader, BlobName


class MemoryIndex:
    """The BlobIndex contract over a dict. `refusal` is what `record_blob` raises."""

    def __init__(self) -> None:
        self.entries: dict[BlobName, BlobEntry] = {}
        self.refusal: DeviceFault | None = None

    async def record_blob(self, entry: BlobEntry) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.entries[entry.header.name] = entry

    async def record_blob_removed(self, name: BlobName) -> None:
        self.entries.pop(name, None)

    def blob_entry(self, name: BlobName) -> BlobEntry | None:
        return self.entries.get(name)

    def list_blob_entries(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        names = sorted((name.id, name.number) for name in self.entries)
        start = (after.id, after.number) if after else (b"", -1)
        return [self.entries[BlobName(*name)] for name in names if name > start][:limit]


class FaultDisk(RealDisk):
    """A real disk whose calls fail on demand: `faults[call] = errno`, or with `room` bytes written."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, int] = {}
        self.room: int | None = None
        self.free: int | None = None
        self.calls: list[str] = []
        self.cold = False

    def meet(self, call: str) -> None:
        """Note a call; raise what it is to fail with."""
        self.calls.append(call)
        if call in self.faults:
            raise OSError(self.faults[call], os.strerror(self.faults[call]))

    def create(self, path: str) -> "FaultFile":  # type: ignore[override]
        self.meet("create")
        return FaultFile(super().create(path), self)

    def create_uncached(self, path: str) -> "FaultFile":  # type: ignore[override]
        self.meet("create")
        return FaultFile(super().create_uncached(path), self)

    def open(self, path: str, *, writable: bool = False) -> "FaultFile":  # type: ignore[override]
        self.meet("open")
        return FaultFile(super().open(path, writable=writable), self)

    def rename(self, source: str, target: str) -> None:
        self.meet("rename")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.meet("unlink")
        super().unlink(path)

    def sync_dir(self, path: str) -> None:
        self.meet("sync_dir")
        super().sync_dir(path)

    def free_bytes(self, path: str) -> int:
        return super().free_bytes(path) if self.free is None else self.free


class FaultFile:
    """A file of a FaultDisk. `cold` disks say that nothing is in memory."""

    def __init__(self, file: DiskFile, disk: FaultDisk) -> None:
        self._file = file
        self._disk = disk

    def append(self, buffers: Sequence[Buffer]) -> None:
        self._disk.meet("append")
        if self._disk.room is not None:
            self._disk.room -= sum(map(len, buffers))
            if self._disk.room < 0:
                raise OSError(28, "No space left on device")
        self._file.append(buffers)

    def sync(self) -> None:
        self._disk.meet("sync")
        self._file.sync()

    def pread(self, offset: int, length: int) -> bytes:
        self._disk.meet("pread")
        return self._file.pread(offset, length)

    def resident(self, offset: int, length: int) -> bool:
        return not self._disk.cold and self._file.resident(offset, length)

    def load(self, offset: int, length: int) -> None:
        self._disk.meet("load")
        self._file.load(offset, length)

    def unmap(self, offset: int, length: int) -> None:
        self._file.unmap(offset, length)

    def drop_cache(self) -> None:
        self._file.drop_cache()

    def start_writeback(self, offset: int, length: int) -> None:
        self._disk.meet(f"start_writeback {offset}+{length}")
        self._file.start_writeback(offset, length)

    def close(self) -> None:
        self._disk.calls.append("close")
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class HeldExecutor(Executor):
    """Keeps its jobs until the test runs them, in order."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def __len__(self) -> int:
        return len(self._jobs)

    def run_one(self, place: int = 0) -> None:
        """Carry out a job, the oldest if not told otherwise, unless it was cancelled."""
        future, job = self._jobs.pop(place)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

    def run_all(self) -> None:
        """Carry out everything that waits."""
        while self._jobs:
            self.run_one()


class HandClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now_ns(self) -> int:
        return int(self.seconds * 1_000_000_000)

    def monotonic(self) -> float:
        return self.seconds


class Device:
    """A blob store on a directory, and all its doors."""

    def __init__(self, root: Path, executor: Executor | None = None) -> None:
        self.root = root
        self.disk = FaultDisk()
        self.clock = HandClock()
        self.index = MemoryIndex()
        self.executor = ThreadPoolExecutor(2) if executor is None else executor
        self.failures: list[BaseException] = []
        self.blobs = BlobStore(
            str(root),
            self.disk,
            self.clock,
            index=self.index,
            executor=self.executor,
            on_failure=self.failures.append,
        )

    def header(
        self, number: int = 0, *, id_byte: int = 0xAB, chunk_bytes: int = 64 * 1024
    ) -> BlobHeader:
        """A header whose id is sixteen times `id_byte`."""
        return BlobHeader(
            name=BlobName(bytes([id_byte]) * 16, number),
            partition=7,
            policy="replicated-3",
            owner_shard=b"shard",
            owner_name=b"a name",
            upload=b"",
            codec="",
            k=0,
            m=0,
            chunk_bytes=chunk_bytes,
            created_ns=self.clock.now_ns(),
        )

    async def put(self, data: bytes, header: BlobHeader | None = None) -> BlobName:
        """Store one blob."""
        header = header or self.header()
        writer = await self.blobs.create(header)
        await writer.write(data)
        await writer.commit()
        return header.name

    async def get(self, name: BlobName, offset: int = 0, length: int | None = None) -> bytes:
        """Read a blob, or a range of it."""
        reader = await self.blobs.open(name)
        try:
            wanted = reader.size_bytes - offset if length is None else length
            return b"".join(await reader.read(offset, wanted))
        finally:
            reader.close()

    def path(self, name: BlobName) -> Path:
        """Where a committed blob's file is."""
        return self.root / "blobs" / f"{name.id[0]:02x}" / f"{name.id.hex()}.{name.number}"

    def files(self, folder: str) -> list[str]:
        """Paths of all files below a folder of the device, relative to it."""
        base = self.root / folder
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
