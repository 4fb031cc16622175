"""A disk in memory that records what is done to it, and gives the states that a power cut may leave.

What is promised of a disk (and nothing more): bytes are there after the file's sync, names after
their directory's sync. Of anything later any part may be there, in any order: whole writes missing,
written in part, or with holes of zeros where a later sector arrived and an earlier one did not.
Directories themselves are taken as there once made.
"""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runtime.disk import Buffer

SECTOR_BYTES = 512


class Event(NamedTuple):
    """One thing that was done. kind: append, truncate, sync, link, unlink, rename, sync_dir,
    index, ack."""

    kind: str
    subject: Any
    value: Any = None
    offset: int = 0


@dataclass
class Inode:
    """A file's content as the running program sees it."""

    number: int
    data: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Image:
    """What is on a disk: files by path, directories, and the index's tables by path."""

    files: dict[str, bytes]
    directories: frozenset[str]
    index: dict[str, Any]


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
    lies: syncs do nothing, which a crash test must find out."""

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
        self._directories: set[str] = set()
        self.start = image or Image({}, frozenset(), {})
        self.index: dict[str, Any] = dict(self.start.index)
        self._directories |= self.start.directories
        for path, data in self.start.files.items():
            self._files[path] = self._inode(data)
        self._numbers = {path: inode.number for path, inode in self._files.items()}

    def _inode(self, data: bytes = b"") -> Inode:
        self._next += 1
        return Inode(self._next, bytearray(data))

    def record(self, event: Event) -> None:
        """Take down an event."""
        self.events.append(event)

    # -- the disk door -------------------------------------------------------------------------

    def create_uncached(self, path: str) -> MemoryFile:
        return self.create(path)

    def create(self, path: str) -> MemoryFile:
        if path in self._files:
            raise FileExistsError(errno.EEXIST, path)
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
        moved = [path for path in self._files if path == source or path.startswith(source + "/")]
        if not moved and source not in self._directories:
            raise FileNotFoundError(errno.ENOENT, source)
        for path in moved:
            self._files[target + path[len(source) :]] = self._files.pop(path)
            self.record(Event("rename", target + path[len(source) :], path))
        if source in self._directories:
            self._directories.add(target)
        if source in self.index:
            self.index[target] = self.index.pop(source)
            self.record(Event("index", source, None))

    def unlink(self, path: str) -> None:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, path)
        del self._files[path]
        self.record(Event("unlink", path))

    def sync_dir(self, path: str) -> None:
        if not self.lies:
            self.record(Event("sync_dir", path))

    def make_dirs(self, path: str) -> None:
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            self._directories.add("/".join(parts[:end]))

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

    def flip(self, path: str, offset: int, mask: int = 0x40) -> None:
        """Damage one byte of a file behind everybody's back."""
        self._files[path].data[offset] ^= mask

    def image(self) -> Image:
        """All that the program sees, as if everything had been synced."""
        files = {path: bytes(inode.data) for path, inode in self._files.items()}
        return Image(files, frozenset(self._directories), dict(self.index))

    def crashes(self, upto: int) -> "Crashes":
        """The states that a power cut before event `upto` may leave."""
        return Crashes(self.start, self._numbers, self.events[:upto], frozenset(self._directories))


class Crashes:
    """States after a power cut, given what was done until then."""

    def __init__(
        self,
        start: Image,
        numbers: dict[str, int],
        events: list[Event],
        directories: frozenset[str],
    ) -> None:
        self._start = start
        self._numbers = numbers
        self._events = events
        self._directories = directories
        self._durable = self._durable_events()

    def _durable_events(self) -> list[bool]:
        """For each event, whether a later sync made it durable."""
        durable = [False] * len(self._events)
        synced: set[Any] = set()
        for i in range(len(self._events) - 1, -1, -1):
            event = self._events[i]
            if event.kind == "sync":
                synced.add(event.subject)
            elif event.kind == "sync_dir":
                synced.add(event.subject + "/")
            elif event.kind in {"append", "truncate"}:
                durable[i] = event.subject in synced
            elif event.kind in {"link", "unlink", "rename"}:
                durable[i] = event.subject.rsplit("/", 1)[0] + "/" in synced
            else:
                durable[i] = True
        return durable

    def acknowledged(self) -> list[Any]:
        """What had been acknowledged by then."""
        return [event.subject for event in self._events if event.kind == "ack"]

    def least(self) -> Image:
        """Only what is durable."""
        return self._build(lambda event: None)

    def most(self) -> Image:
        """All that was written."""
        return self._build(lambda event: event)

    def some(self, rng: random.Random) -> Image:
        """A random legal state between: writes missing, torn or with holes."""
        return self._build(lambda event: _torn(event, rng) if rng.random() < 0.7 else None)

    def _build(self, fate: Callable[[Event], Event | None]) -> Image:
        contents = {self._numbers[path]: bytearray(data) for path, data in self._start.files.items()}
        names = dict(self._numbers)
        index = dict(self._start.index)
        for event, durable in zip(self._events, self._durable, strict=True):
            happened = event if durable else fate(event)
            if happened is not None:
                _apply(happened, contents, names, index)
        files = {path: bytes(contents.get(number, b"")) for path, number in names.items()}
        return Image(files, self._directories, index)


def _torn(event: Event, rng: random.Random) -> Event:
    """A write of which only some sectors arrived; other events are whole or not at all."""
    if event.kind != "append" or rng.random() < 0.3:
        return event
    data = bytearray(event.value)
    if rng.random() < 0.5:
        return event._replace(value=bytes(data[: rng.randrange(len(data) + 1)]))
    first = -event.offset % SECTOR_BYTES
    for begin in [0, *range(first, len(data), SECTOR_BYTES)]:
        if rng.random() < 0.4:
            end = min(len(data), begin + SECTOR_BYTES if begin >= first else first)
            data[begin:end] = bytes(end - begin)
    return event._replace(value=bytes(data))


def _apply(
    event: Event, contents: dict[int, bytearray], names: dict[str, int], index: dict[str, Any]
) -> None:
    match event.kind:
        case "append":
            data = contents.setdefault(event.subject, bytearray())
            end = event.offset + len(event.value)
            data.extend(bytes(max(0, end - len(data))))
            data[event.offset : end] = event.value
        case "truncate":
            del contents.setdefault(event.subject, bytearray())[event.value :]
        case "link":
            names[event.subject] = event.value
        case "unlink":
            names.pop(event.subject, None)
        case "rename":
            if event.value in names:
                names[event.subject] = names.pop(event.value)
        case "index":
            if event.value is None:
                index.pop(event.subject, None)
            else:
                index[event.subject] = event.value
