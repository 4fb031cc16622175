"""The disk door: the few file operations the store makes, so that a simulated disk can stand in.

All calls block; who calls from an event loop puts them on a thread, except `pread_cached`. Paths are
strings. Errors are OSError with their errno. Nothing here retries: a failed sync is final.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Final, Protocol

from runtime import page_cache
from runtime.direct_io import AlignedBuffers, DirectWriter, open_direct

Buffer = bytes | bytearray | memoryview

IOV_MAX = 1024
"""Linux's bound on the buffers of one writev."""

READ_AHEAD_BYTES = 2 * 1024 * 1024
"""How much behind a `load` is fetched with it: readers of cold files go on where they stopped."""

SCRATCH_BYTES = 256 * 1024
"""`load` copies through a buffer of this size, which stays in the processor's cache."""


class DiskFile(Protocol):
    """One open file."""

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Write all of `buffers` at the end of the file, in order. Not durable before `sync`.

        Raises OSError; then any prefix may have been written.
        """

    def sync(self) -> None:
        """fdatasync. An error is final: the kernel may have dropped the pages."""

    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end of the file."""

    def pread_cached(self, offset: int, length: int) -> bytes | None:
        """Like pread where all bytes are in memory, else None. Does not block."""

    def map(self) -> memoryview:
        """The whole file as a read-only view; it stays valid after close and unlink.

        A page that can't be read ends the process when it is touched: `load` says so as an error.
        """

    def resident(self, offset: int, length: int) -> bool:
        """True where touching these mapped bytes needs no disk. Does not block; false before `map`."""

    def load(self, offset: int, length: int) -> None:
        """Bring bytes into memory and begin to fetch those behind them.

        Raises OSError (EIO) where they can't be read or the file ends before them.
        """

    def unmap(self, offset: int, length: int) -> None:
        """Take mapped pages within these bytes out of this process; they stay valid. A hint."""

    def start_writeback(self, offset: int, length: int) -> None:
        """Begin to write these appended bytes to the device, so that a later `sync` is short.

        Promises nothing; errors are left to `sync`.
        """

    def drop_cache(self) -> None:
        """Let the kernel forget the file's pages, which were synced. A hint."""

    def size(self) -> int:
        """Length in bytes."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def close(self) -> None:
        """Close the file. Idempotent."""


class Disk(Protocol):
    """One file system."""

    def create(self, path: str) -> DiskFile:
        """A new empty file; FileExistsError where there is one. Durable after sync and sync_dir."""

    def create_uncached(self, path: str) -> DiskFile:
        """Like `create`, for bytes nobody will read soon: they bypass the page cache where the file
        system can do that. Appended bytes are in the file after `sync`."""

    def open(self, path: str, *, writable: bool = False) -> DiskFile:
        """An existing file."""

    def rename(self, source: str, target: str) -> None:
        """Atomically; replaces `target`. Durable after sync_dir."""

    def unlink(self, path: str) -> None:
        """Remove a file. FileNotFoundError where there is none."""

    def sync_dir(self, path: str) -> None:
        """Make creations, renames and removals in a directory durable."""

    def make_dirs(self, path: str) -> None:
        """Create a directory and its parents; no error where it exists."""

    def list_dir(self, path: str) -> list[str]:
        """Names in a directory, sorted."""

    def free_bytes(self, path: str) -> int:
        """Room left for unprivileged writers."""

    def lock(self, path: str) -> DiskFile:
        """Create `path` where it is not there and lock it against other processes until `close`.

        BlockingIOError where another holder has it.
        """


class RealFile:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._mapped = memoryview(b"")
        self._knows_nowait = True

    def append(self, buffers: Sequence[Buffer]) -> None:
        for start in range(0, len(buffers), IOV_MAX):
            self._append_some(buffers[start : start + IOV_MAX])

    def _append_some(self, buffers: Sequence[Buffer]) -> None:
        wanted = sum(len(buffer) for buffer in buffers)
        written = os.writev(self._fd, buffers)
        if written != wanted:
            self._append_rest(b"".join(buffers), written)

    def _append_rest(self, data: bytes, written: int) -> None:
        view = memoryview(data)
        while written < len(data):
            step = os.write(self._fd, view[written:])
            if step == 0:
                raise OSError(errno.EIO, "write made no progress")
            written += step

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def pread(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while len(data) < length and (
            more := os.pread(self._fd, length - len(data), offset + len(data))
        ):
            data += more
        return data

    def pread_cached(self, offset: int, length: int) -> bytes | None:
        if not self._knows_nowait:
            return None
        data = bytearray(length)
        try:
            count = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self._knows_nowait = False  # tmpfs and some network file systems: always read on a thread
            return None
        return bytes(data) if count == length else None

    def map(self) -> memoryview:
        if os.fstat(self._fd).st_size > 0:
            self._mapped = memoryview(mmap.mmap(self._fd, 0, prot=mmap.PROT_READ))
        return self._mapped

    def resident(self, offset: int, length: int) -> bool:
        return page_cache.resident(self._mapped, offset, length)

    def load(self, offset: int, length: int) -> None:
        os.posix_fadvise(self._fd, offset, length + READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        scratch = memoryview(bytearray(min(length, SCRATCH_BYTES)))
        end = offset + length
        while offset < end:
            step = os.preadv(self._fd, [scratch[: end - offset]], offset)
            if step == 0:
                raise OSError(errno.EIO, "the file ends before the bytes asked for")
            offset += step

    def unmap(self, offset: int, length: int) -> None:
        start = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
        whole = (offset + length) // mmap.PAGESIZE * mmap.PAGESIZE - start
        mapped = self._mapped.obj
        if whole > 0 and isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED, start, whole)

    def start_writeback(self, offset: int, length: int) -> None:
        page_cache.start_writeback(self._fd, offset, length)

    def drop_cache(self) -> None:
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._mapped = memoryview(b"")


class UncachedFile(RealFile):
    """A new file that is written past the page cache."""

    def __init__(self, fd: int, buffers: AlignedBuffers) -> None:
        super().__init__(fd)
        self._direct = DirectWriter(fd, buffers)

    def append(self, buffers: Sequence[Buffer]) -> None:
        self._direct.append(buffers)

    def sync(self) -> None:
        self._direct.finish()
        super().sync()

    def start_writeback(self, offset: int, length: int) -> None:
        """Direct writes have no pages to write back."""

    def size(self) -> int:
        return super().size() + self._direct.pending_bytes

    def close(self) -> None:
        self._direct.release()
        super().close()


_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class RealDisk:
    """The operating system's file systems."""

    def __init__(self) -> None:
        self._buffers = AlignedBuffers()

    def create(self, path: str) -> RealFile:
        return RealFile(os.open(path, _NEW_FILE, 0o600))

    def create_uncached(self, path: str) -> RealFile:
        fd = open_direct(path, _NEW_FILE, 0o600)
        return self.create(path) if fd is None else UncachedFile(fd, self._buffers)

    def open(self, path: str, *, writable: bool = False) -> RealFile:
        flags = os.O_RDWR | os.O_APPEND if writable else os.O_RDONLY
        return RealFile(os.open(path, flags | os.O_CLOEXEC))

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def sync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_dirs(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def list_dir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def free_bytes(self, path: str) -> int:
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize

    def lock(self, path: str) -> RealFile:
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return RealFile(fd)
