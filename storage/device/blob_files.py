"""Reading a blob's bytes: an open blob file of a device, by any process of the device's host.

Every read checks the checksums of all chunks that it touches, then gives slices of the mapped file,
so that a server sends from the page cache. What is in memory is checked at once, in steps between which
others get their turn: XXH3 takes 25 to 80 us per MiB, about what handing it to a thread and back would,
and xxhash keeps the GIL for our chunks, so a thread would not even let others run. What needs the disk
runs on the executor.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from runtime.disk import Disk, DiskFile
from storage.contract import DeviceFault
from storage.device import blob_format
from storage.device.blob_errors import read_fault
from storage.device.blob_format import FOOTER_BYTES, HEADER_BYTES, BlobFormatError
from storage.device.blob_paths import BlobPaths
from storage.device.blob_staging import StagedBlob
from storage.types import BlobHeader, BlobName, Fault

__all__ = ["BlobFile", "BlobFileReader", "StagedBlob", "open_blob_file"]

STEP_BYTES: Final = 1024 * 1024 + 128 * 1024
"""How much is verified without a pause: an event loop should not stand still for longer. One segment
fits, also as fragments with their headers."""

ReportCorrupt = Callable[[BlobName, int | None], Awaitable[None]]
"""Told of a bad chunk (None: of a bad header, table or footer) before the reader raises."""


class BlobFile:
    """An open, mapped blob file whose header, table and footer are sound. Every method blocks."""

    def __init__(self, file: DiskFile, header: BlobHeader, data_bytes: int, table: bytes) -> None:
        self.header = header
        self.size_bytes = data_bytes
        self._file = file
        self._table = table
        self._data = file.map()[HEADER_BYTES : HEADER_BYTES + data_bytes]

    @classmethod
    def open(cls, disk: Disk, path: str, name: BlobName) -> "BlobFile":
        """Open and check the file of blob `name`. Raises OSError, BlobFormatError."""
        file = disk.open(path)
        try:
            return cls(file, *_frame(file, name))
        except BaseException:
            file.close()
            raise

    def covering(self, offset: int, length: int) -> range:
        """The numbers of the chunks that some bytes lie in."""
        chunk_bytes = self.header.chunk_bytes
        return range(offset // chunk_bytes, -(-(offset + length) // chunk_bytes))

    def view(self, start: int, end: int) -> memoryview:
        """Bytes of the map, not verified."""
        return self._data[start:end]

    def resident(self, chunks: range) -> bool:
        """True where hashing these chunks takes one step at most and needs no disk."""
        start, end = self._span(chunks)
        return end - start <= STEP_BYTES and self._file.resident(HEADER_BYTES + start, end - start)

    def bad_chunk(self, chunks: range) -> int | None:
        """The first of these chunks that fails its checksum; they must be resident or loaded."""
        start, end = self._span(chunks)
        data = self._data[start:end]
        return blob_format.first_bad_chunk(data, self.header.chunk_bytes, self._table, chunks.start)

    def load(self, chunks: range) -> None:
        """Bring chunks into memory; raises OSError where they can't be read."""
        start, end = self._span(chunks)
        self._file.load(HEADER_BYTES + start, end - start)

    def let_go(self, start: int, end: int) -> None:
        """Do not count bytes of the map as this process's memory any longer; they stay valid."""
        self._file.unmap(HEADER_BYTES + start, end - start)

    def forget(self) -> None:
        """Let the kernel drop the file's pages that nobody else has mapped. A hint."""
        self._file.unmap(0, HEADER_BYTES + self.size_bytes)
        self._file.drop_cache()

    def _span(self, chunks: range) -> tuple[int, int]:
        chunk_bytes = self.header.chunk_bytes
        return chunks.start * chunk_bytes, min(chunks.stop * chunk_bytes, self.size_bytes)

    def close(self) -> None:
        """Close the file; views of it stay valid. Idempotent."""
        self._file.close()


def _frame(file: DiskFile, name: BlobName) -> tuple[BlobHeader, int, bytes]:
    """Header, data length and table of a blob file. Raises BlobFormatError, OSError."""
    size = file.size()
    block = file.pread(0, HEADER_BYTES)
    header = blob_format.parse_header(block)
    if header.name != name:
        raise BlobFormatError(f"the file says that it is {header.name}")
    footer = blob_format.parse_footer(file.pread(max(0, size - FOOTER_BYTES), FOOTER_BYTES))
    if size != blob_format.file_bytes(footer.data_bytes, header.chunk_bytes):
        raise BlobFormatError(f"{size} bytes long, which does not go with its footer")
    table_at = HEADER_BYTES + footer.data_bytes
    table = file.pread(table_at, size - FOOTER_BYTES - table_at)
    if blob_format.seal_of(block, footer.data_bytes, table) != footer.seal:
        raise BlobFormatError("header, checksum table and footer do not belong together")
    return header, footer.data_bytes, table


class BlobFileReader:
    """An open blob; see BlobReader."""

    def __init__(self, file: BlobFile, executor: Executor, report: ReportCorrupt | None) -> None:
        self.header = file.header
        self.size_bytes = file.size_bytes
        self._file = file
        self._executor = executor
        self._report = report
        self._jobs = 0
        self._closed = False
        self._let_go_to = 0
        self._previous = 0

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        """See BlobReader.read; one view."""
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"bytes {offset}+{length} are outside a blob of {self.size_bytes}")
        if self._closed:
            raise ValueError("the blob was closed")
        if length == 0:
            return []
        self._let_go_behind(offset)
        bad = await self._verify(self._file.covering(offset, length))
        if bad is not None:
            await self._refuse(bad)
        return [self._file.view(offset, offset + length)]

    def _let_go_behind(self, offset: int) -> None:
        """A stream that goes on has sent what lies before its last read: keep memory bounded."""
        if offset > self._previous > self._let_go_to:
            self._file.let_go(self._let_go_to, self._previous)
            self._let_go_to = self._previous
        self._previous = offset

    async def _verify(self, chunks: range) -> int | None:
        """The first bad one of some chunks, looked at step by step."""
        step = max(1, STEP_BYTES // self.header.chunk_bytes)
        for start in range(0, len(chunks), step):
            if start:
                await asyncio.sleep(0)
            part = chunks[start : start + step]
            if not self._file.resident(part):
                return await self._load_and_verify(chunks[start:])
            if (bad := self._file.bad_chunk(part)) is not None:
                return bad
        return None

    async def _load_and_verify(self, chunks: range) -> int | None:
        self._jobs += 1
        job = asyncio.get_running_loop().run_in_executor(
            self._executor, load_and_verify, self._file, chunks
        )
        # The job outlives a cancelled read: the file is closed after it, not under it.
        job.add_done_callback(self._job_ended)
        try:
            return await asyncio.shield(job)
        except OSError as error:
            raise read_fault(error) from error

    def _job_ended(self, job: "asyncio.Future[int | None]") -> None:
        self._jobs -= 1
        if self._closed and not self._jobs:
            self._file.close()

    async def _refuse(self, chunk: int) -> None:
        if self._report is not None:
            await self._report(self.header.name, chunk)
        raise DeviceFault(Fault.CORRUPT, f"chunk {chunk} fails its checksum")

    def close(self) -> None:
        """See BlobReader.close."""
        self._closed = True
        if not self._jobs:
            self._file.close()


def load_and_verify(file: BlobFile, chunks: range) -> int | None:
    """The first bad one of some chunks, unreadable ones among them. Blocks. Raises OSError."""
    try:
        file.load(chunks)
    except OSError as error:
        if read_fault(error).fault is Fault.CORRUPT:
            return chunks.start
        raise
    return file.bad_chunk(chunks)


async def open_blob_file(
    root: str,
    name: BlobName,
    disk: Disk,
    executor: Executor,
    report: ReportCorrupt | None = None,
) -> BlobFileReader:
    """Open the blob `name` of the device at `root`, which may be another process's.

    Raises DeviceFault: ABSENT; CORRUPT, after `report` was told, where the file is not a whole blob of
    this name. Without `report` it is the caller who tells the owner (`BlobStore.report_corrupt`).
    """
    path = BlobPaths(root).blob(name)
    job = asyncio.get_running_loop().run_in_executor(executor, BlobFile.open, disk, path, name)
    try:
        file = await asyncio.shield(job)
    except asyncio.CancelledError:
        job.add_done_callback(_close_unwanted)
        raise
    except (OSError, BlobFormatError) as error:
        fault = open_fault(error)
        if fault.fault is Fault.CORRUPT and report is not None:
            await report(name, None)
        raise fault from error
    return BlobFileReader(file, executor, report)


def _close_unwanted(job: "asyncio.Future[BlobFile]") -> None:
    if not job.cancelled() and job.exception() is None:
        job.result().close()


def open_fault(error: OSError | BlobFormatError) -> DeviceFault:
    """What an error of `BlobFile.open` means."""
    if isinstance(error, BlobFormatError):
        return DeviceFault(Fault.CORRUPT, str(error))
    return read_fault(error)
