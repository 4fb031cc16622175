"""A disk in memory that records what is done to it; `crash_images.py` says what a power cut leaves."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.disk import Buffer
from tests.crash.crash_images import DIRECTORY, INDEX_FILE, Crashes, Event, Image


@dataclass
class Inode:
    """A file's content as the running program sees it."""

    number: int
    data: bytearray = field(default_factory=bytearray)


class MemoryFile:
    """A handle on an inode."""

    def __init__(self, disk: "RecordingDisk", inode: Inode, *, writable: bool = True) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable

    def append(self, buffers: Sequence[Buffer]) -> None:
        data = b"".join(buffers)
        room = self._disk.room
        taken = data[:room] if self._disk.full else data
        offset = len(self._inode.data)
        self._disk.record(Event("append", self._inode.number, taken, offset))
        self._inode.data += taken
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")

    def sync(self) -> None:
        if self._disk.sync_fails:
            raise OSError(errno.EIO, "input/output error")
        if not self._disk.lies:
            self._disk.record(Event("sync", self._inode.number))

    def pread(self, offset: int, length: int) -> bytes:
        return bytes(self._inode.data[offset : offset + length])

    def pread_cached(self, offset: int, length: int) -> bytes | None:
        data = self.pread(offset, length)
        return data if len(data) == length and not self._disk.cold else None

    def map(self) -> memoryview:
        return memoryview(bytes(self._inode.data))

    def resident(self, offset: int, length: int) -> bool:
        return not self._disk.cold

    def load(self, offset: int, length: int) -> None:
        """All is in memory."""

    def unmap(self, offset: int, length: int) -> None:
        """Nothing is mapped."""

    def drop_cache(self) -> None:
        """There is no cache here."""

    def start_writeback(self, offset: int, length: int) -> None:
        """Nothing becomes durable by this."""

    def size(self) -> int:
        return len(self._inode.data)

    def truncate(self, size: int) -> None:
        self._disk.record(Event("truncate", self._inode.number, size))
        del self._inode.data[size:]

    def close(self) -> None:
        """Nothing to let go of."""


class LockFile(MemoryFile):
    """A lock: gone with its holder."""

    def __init__(self, disk: "RecordingDisk", path: str) -> None:
        super().__init__(disk, Inode(-1))
        self._path = path

    def close(self) -> None:
        self._disk.locks.discard(self._path)


class RecordingDisk:
    """The disk door in memory. full: takes `room` more bytes per write; cold: nothing is cached;
    lies: syncs do nothing, which a crash test must find out.

    An index is kept here by the directory that it has (see `commit_index`), not as bytes.
    """

    def __init__(self, image: Image | None = None) -> None:
        self.events: list[Event] = []
        self.locks: set[str] = set()
        self.full = False
        self.room = 0
        self.cold = False
        self.lies = False
        self.sync_fails = False
        self._next = 0
        self._files: dict[str, Inode] = {}
        self.start = image or Image({}, frozenset(), {})
        self.index: dict[str, Any] = dict(self.start.index)
        self._directories = set(self.start.directories)
        for path, data in self.start.files.items():
            self._files[path] = self._inode(data)
        self._index_inodes = {path: self._inode() for path in self.index}
        some = {**self._files, **self._index_inodes}
        self._numbers = {path: inode.number for path, inode in some.items()}

    def _inode(self, data: bytes = b"") -> Inode:
        self._next += 1
        return Inode(self._next, bytearray(data))

    def record(self, event: Event) -> None:
        """Take down an event."""
        self.events.append(event)

    def open_index(self, path: str) -> Any:
        """The tables of the index in a directory; None of a new one, whose file is created."""
        if path not in self._index_inodes:
            inode = self._index_inodes[path] = self._inode()
            self.record(Event("link", f"{path}/{INDEX_FILE}", inode.number))
        return self.index.get(path)

    def commit_index(self, path: str, tables: Any) -> None:
        """The index in a directory was committed and synced."""
        self.index[path] = tables
        self.record(Event("index", self._index_inodes[path].number, tables))

    # -- the disk door -------------------------------------------------------------------------

    def create_uncached(self, path: str) -> MemoryFile:
        return self.create(path)

    def create(self, path: str) -> MemoryFile:
        if path in self._files:
            raise FileExistsError(errno.EEXIST, path)
        if path.rpartition("/")[0] not in self._directories:
            raise FileNotFoundError(errno.ENOENT, path)
        if self.full and not self.room:
            raise OSError(errno.ENOSPC, "no space left on device")
        inode = self._files[path] = self._inode()
        self.record(Event("link", path, inode.number))
        return MemoryFile(self, inode)

    def open(self, path: str, *, writable: bool = False) -> MemoryFile:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, path)
        return MemoryFile(self, self._files[path], writable=writable)

    def rename(self, source: str, target: str) -> None:
        if source in self._files:
            inode = self._files[target] = self._files.pop(source)
            self.record(Event("rename", target, source, inode.number))
        elif source in self._directories:
            self.record(Event("rename", target, source, DIRECTORY))
            self._directories = {_moved(path, source, target) for path in self._directories}
            self._files = {_moved(path, source, target): node for path, node in self._files.items()}
            self.index = {_moved(path, source, target): found for path, found in self.index.items()}
            nodes = self._index_inodes.items()
            self._index_inodes = {_moved(path, source, target): node for path, node in nodes}
        else:
            raise FileNotFoundError(errno.ENOENT, source)

    def unlink(self, path: str) -> None:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, path)
        del self._files[path]
        self.record(Event("unlink", path))

    def sync_dir(self, path: str) -> None:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, path)
        if not self.lies:
            self.record(Event("sync_dir", path))

    def make_dirs(self, path: str) -> None:
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            directory = "/".join(parts[:end])
            if directory not in self._directories:
                self._directories.add(directory)
                self.record(Event("mkdir", directory))
                if end == 1:
                    self.record(Event("sync_dir", ""))  # where the file system is mounted

    def list_dir(self, path: str) -> list[str]:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, path)
        inside = {
            other[len(path) + 1 :].split("/")[0]
            for other in (*self._files, *self._directories)
            if other.startswith(path + "/")
        }
        return sorted(inside)

    def free_bytes(self, path: str) -> int:
        return 0 if self.full else 1 << 40

    def lock(self, path: str) -> MemoryFile:
        if path in self.locks:
            raise BlockingIOError(errno.EAGAIN, path)
        self.locks.add(path)
        return LockFile(self, path)

    # -- what a test does to it ------------------------------------------------------------------

    def inode(self, path: str) -> Inode:
        """A file, for those who write it past the door."""
        return self._files[path]

    def flip(self, path: str, offset: int, mask: int = 0x40) -> None:
        """Damage one byte of a file behind everybody's back."""
        self._files[path].data[offset] ^= mask

    def image(self) -> Image:
        """All that the program sees, as if everything had been synced."""
        files = {path: bytes(inode.data) for path, inode in self._files.items()}
        return Image(files, frozenset(self._directories), dict(self.index))

    def crashes(self, upto: int) -> Crashes:
        """The states that a power cut before event `upto` may leave."""
        crashes = Crashes(self.start, self._numbers)
        for event in self.events[:upto]:
            crashes.add(event)
        return crashes


def _moved(path: str, source: str, target: str) -> str:
    """A path after a directory above it, or it itself, was renamed."""
    return target + path[len(source) :] if path == source or path.startswith(f"{source}/") else path
