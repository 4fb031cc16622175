"""A machine's disk in memory: what is written is there at once, and durable only after its sync.

What is promised of a disk (and nothing more): bytes are there after the file's sync, names after
their directory's sync. Of anything later a power cut leaves any part: whole writes lost, written in
part, or with holes of zeros. Directories themselves are taken as there once made.

Blocking work runs as a `Job`: what it does is seen at once, but its syncs take effect when it ends. A
power cut in between falls between any two of its syncs, and takes away what it did behind the cut.
"""

import asyncio
import enum
import errno
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from runtime.disk import Buffer
from storage.device.index_memory import MemoryIndex, Tables
from storage.device.record import Kind, parse, salt
from tests.sim.virtual_time import Life

SECTOR_BYTES = 512
ROOMY_BYTES = 1 << 40

KEPT = 0.55
TORN = 0.2
"""Shares of unsynced writes that a power cut leaves whole, or in part."""


class Leaves(enum.Enum):
    """What a power cut leaves of what was not synced."""

    CHANCE = "any part of it"
    TORN = "some of each write, and nothing else"
    NOTHING = "nothing"


class Job:
    """A piece of blocking work. syncs: what its syncs make durable, in order, once they take effect."""

    def __init__(self) -> None:
        self.syncs: list[Callable[[], None]] = []
        self.cut: int | None = None
        """How many syncs took effect before the power was cut."""


class _Change:
    """Something that is not durable yet: to a file's bytes, or to a name."""

    __slots__ = ("apply", "job", "phase", "torn")

    def __init__(
        self, apply: Callable[[], None], torn: Callable[[random.Random], None] | None, job: Job | None
    ) -> None:
        self.apply = apply
        self.torn = torn
        self.job = job
        self.phase = len(job.syncs) if job is not None else 0

    def survives(self) -> bool:
        """False for what its job did only after the cut."""
        return self.job is None or self.job.cut is None or self.phase <= self.job.cut

    def meet_cut(self, rng: random.Random, leaves: Leaves) -> None:
        """Become durable, or not, or in part."""
        roll = KEPT if leaves is Leaves.TORN else rng.random()
        if not self.survives() or roll >= KEPT + TORN or leaves is Leaves.NOTHING:
            return
        if roll >= KEPT and self.torn is not None:
            self.torn(rng)
        else:
            self.apply()


class Inode:
    """A file: what programs see, what is durable, and what lies between."""

    __slots__ = ("data", "durable", "pending")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.pending: list[_Change] = []

    def write(self, offset: int, data: bytes) -> None:
        """Durably, after the cut or the sync."""
        gap = offset - len(self.durable)
        if gap > 0:
            self.durable += bytes(gap)
        self.durable[offset : offset + len(data)] = data

    def cut_off(self, size: int) -> None:
        """Durably."""
        del self.durable[size:]

    def write_torn(self, offset: int, data: bytes, rng: random.Random) -> None:
        """Some sectors of a write arrive."""
        if rng.random() < 0.5:
            self.write(offset, data[: rng.randrange(len(data) + 1)])
            return
        some = bytearray(data)
        first = -offset % SECTOR_BYTES
        for begin in [0, *range(first, len(some), SECTOR_BYTES)]:
            if rng.random() < 0.4:
                end = min(len(some), begin + SECTOR_BYTES if begin >= first else first)
                some[begin:end] = bytes(end - begin)
        self.write(offset, bytes(some))


class SimDisk:
    """The disk of one device. A process sees it through `DiskDoor`, for as long as it lives."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self._rng = rng
        self.full = False
        self.low = False
        self.gone = False
        self.sync_fails = False
        self.bad_reads = 0.0
        self.tainted = False
        """A sync failed: what was not durable then may be lost at the next start."""
        self.reserve_bytes = 0
        self.stall_s = 0.0
        """How much longer jobs that sync take."""
        self.leaves = Leaves.CHANCE
        """What the next power cut leaves."""
        self.ambush: Callable[[], None] | None = None
        """What is to happen in the middle of the next job that syncs."""
        self.names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self._renames: dict[str, list[_Change]] = {}
        self.directories: set[str] = set()
        self.index: dict[str, Tables] = {}
        self.locks: set[str] = set()
        self.job: Job | None = None
        self._jobs: list[Job] = []

    # -- jobs --

    @contextmanager
    def working(self, job: Job) -> Iterator[None]:
        """What is done inside belongs to `job`."""
        before, self.job = self.job, job
        self._jobs.append(job)
        try:
            yield
        finally:
            self.job = before

    def finish(self, job: Job) -> None:
        """The job's time is over: its syncs have taken effect."""
        if job in self._jobs:
            self._jobs.remove(job)
            for sync in job.syncs:
                sync()

    def _after_sync(self, effect: Callable[[], None]) -> None:
        if self.job is None:
            effect()
        else:
            self.job.syncs.append(effect)

    # -- files --

    def append(self, inode: Inode, buffers: Sequence[Buffer]) -> None:
        """See DiskFile.append."""
        self._check()
        data = b"".join(buffers)
        taken = data[: self._rng.randrange(len(data) + 1)] if self.full and data else data
        offset = len(inode.data)
        inode.data += taken
        if taken:
            inode.pending.append(
                _Change(
                    lambda: inode.write(offset, taken),
                    lambda rng: inode.write_torn(offset, taken, rng),
                    self.job,
                )
            )
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")

    def sync(self, inode: Inode) -> None:
        """See DiskFile.sync."""
        self._check()
        if self.sync_fails:
            self.tainted = True
            raise OSError(errno.EIO, "input/output error")
        covered = list(inode.pending)
        self._after_sync(lambda: _settle(inode.pending, covered))

    def truncate(self, inode: Inode, size: int) -> None:
        """See DiskFile.truncate."""
        self._check()
        del inode.data[size:]
        inode.pending.append(_Change(lambda: inode.cut_off(size), None, self.job))

    def read(self, inode: Inode, offset: int, length: int) -> bytes:
        """See DiskFile.pread."""
        self._check()
        return bytes(inode.data[offset : offset + length])

    def misread(self, data: bytes) -> bytes:
        """What the program gets instead of `data`."""
        if self.bad_reads and data and self._rng.random() < self.bad_reads:
            at = self._rng.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
        return data

    def _check(self) -> None:
        if self.gone:
            raise OSError(errno.EIO, "input/output error")

    # -- names --

    def create(self, path: str) -> Inode:
        """See Disk.create."""
        self._check()
        if path in self.names:
            raise FileExistsError(errno.EEXIST, path)
        if self.full and self._rng.random() < 0.5:
            raise OSError(errno.ENOSPC, "no space left on device")
        inode = self.names[path] = Inode()
        self._name_change(path, lambda: self._durable_names.__setitem__(path, inode))
        return inode

    def rename(self, source: str, target: str) -> None:
        """See Disk.rename; a directory takes its files along."""
        self._check()
        moved = [path for path in self.names if path == source or path.startswith(source + "/")]
        if not moved and source not in self.directories:
            raise FileNotFoundError(errno.ENOENT, source)
        for path in moved:
            self._rename_one(path, target + path[len(source) :])
        if source in self.directories:
            self.directories.add(target)
        if source in self.index:
            self.index[target] = self.index.pop(source)

    def _rename_one(self, source: str, target: str) -> None:
        inode = self.names[target] = self.names.pop(source)

        def apply() -> None:
            if self._durable_names.get(source) is inode:
                del self._durable_names[source]
            self._durable_names[target] = inode

        self._name_change(target, apply)

    def unlink(self, path: str) -> None:
        """See Disk.unlink."""
        self._check()
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, path)
        inode = self.names.pop(path)

        def apply() -> None:
            if self._durable_names.get(path) is inode:
                del self._durable_names[path]

        self._name_change(path, apply)

    def _name_change(self, path: str, apply: Callable[[], None]) -> None:
        directory = path.rsplit("/", 1)[0]
        self._renames.setdefault(directory, []).append(_Change(apply, None, self.job))

    def sync_dir(self, path: str) -> None:
        """See Disk.sync_dir."""
        self._check()
        pending = self._renames.setdefault(path, [])
        covered = list(pending)
        self._after_sync(lambda: _settle(pending, covered))

    def list_dir(self, path: str) -> list[str]:
        """See Disk.list_dir."""
        self._check()
        if path not in self.directories:
            raise FileNotFoundError(errno.ENOENT, path)
        start = len(path) + 1
        return sorted(
            {
                other[start:].split("/")[0]
                for other in (*self.names, *self.directories)
                if other.startswith(path + "/")
            }
        )

    def make_dirs(self, path: str) -> None:
        """See Disk.make_dirs."""
        self._check()
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            self.directories.add("/".join(parts[:end]))

    def free_bytes(self) -> int:
        """See Disk.free_bytes."""
        if self.full:
            return 0
        return self.reserve_bytes * 3 // 4 if self.low else ROOMY_BYTES

    def commit_index(self, path: str, tables: Tables) -> None:
        """The index's synced transaction."""
        self._check()
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        if self.sync_fails:
            raise OSError(errno.EIO, "input/output error")
        self._after_sync(lambda: self.index.__setitem__(path, tables))

    # -- what happens to it --

    def process_died(self) -> None:
        """The process is gone, the machine is not: what it wrote stays in the page cache."""
        self.locks.clear()
        for job in list(self._jobs):
            self.finish(job)
        if self.tainted:
            self.power_cut()

    def power_cut(self) -> None:
        """Only what is durable is left, and of the rest whatever chance left of it."""
        self.locks.clear()
        self.tainted = False
        for job in self._jobs:
            job.cut = self._rng.randint(0, len(job.syncs)) if self.leaves is Leaves.CHANCE else 0
            for sync in job.syncs[: job.cut]:
                sync()
        self._jobs.clear()
        inodes = list(dict.fromkeys((*self.names.values(), *self._durable_names.values())))
        for inode in inodes:
            for change in inode.pending:
                change.meet_cut(self._rng, self.leaves)
            inode.pending.clear()
            inode.data[:] = inode.durable
        for changes in self._renames.values():
            for change in changes:
                change.meet_cut(self._rng, self.leaves)
            changes.clear()
        self.names = dict(self._durable_names)
        self.leaves = Leaves.CHANCE

    def rot(self) -> str:
        """Damage one byte at rest: of a blob, or of a row's payload that was acknowledged long ago.

        Where, or "" where there was nothing to damage. Not the end of a journal: there, damage can't be
        told from a write that was cut off, and is one failure too many.
        """
        blobs = self._blobs()
        payloads = [
            (path, spot)
            for path in sorted(self.names)
            if path.endswith(".seg")
            for spot in _settled_payloads(bytes(self.names[path].data))
        ]
        if blobs and (not payloads or self._rng.random() < 0.6):
            path = self._rng.choice(blobs)
            spot = self._rng.randrange(len(self.names[path].data))
        elif payloads:
            path, spot = self._rng.choice(payloads)
        else:
            return ""
        self._damage(path, spot)
        return f"{path}@{spot}"

    def rot_blobs(self) -> int:
        """Damage a byte of every blob at rest; how many there are."""
        blobs = self._blobs()
        for path in blobs:
            self._damage(path, self._rng.randrange(len(self.names[path].data)))
        return len(blobs)

    def _blobs(self) -> list[str]:
        return sorted(path for path in self.names if "/blobs/" in path)

    def _damage(self, path: str, spot: int) -> None:
        inode = self.names[path]
        inode.data[spot] ^= 0x10
        if spot < len(inode.durable):
            inode.durable[spot] ^= 0x10


def _settle(pending: list[_Change], covered: list[_Change]) -> None:
    for change in covered:
        if change in pending:
            pending.remove(change)
            change.apply()


def _settled_payloads(data: bytes) -> list[int]:
    """An offset within each row's payload that a later group commit says is durable."""
    if len(data) < 40:
        return []
    view = memoryview(data)
    number = int.from_bytes(data[12:16], "little")
    seed = salt(data[16:32]) ^ (number << 32)
    found: list[int] = []
    spots: list[int] = []
    offset = 40
    while (record := parse(view, offset, seed)) is not None:
        if record.kind == Kind.BATCH:
            found += spots
            spots = []
        elif record.kind == Kind.ROW and record.payload_bytes:
            spots.append(record.payload_offset + record.payload_bytes // 2)
        offset = record.end
    return found


class SimFile:
    """An open file of one life."""

    def __init__(self, disk: SimDisk, inode: Inode, life: Life, path: str = "") -> None:
        self._disk = disk
        self._inode = inode
        self._life = life
        # Journals are misread row by row only: a replay that misreads can't know it from a torn write.
        self._blob = "/blobs/" in path
        self._rots = self._blob or path.endswith(".seg")

    def _check(self) -> None:
        if not self._life.alive:
            raise OSError(errno.EIO, "the process is dead")

    def append(self, buffers: Sequence[Buffer]) -> None:
        self._check()
        self._disk.append(self._inode, buffers)

    def sync(self) -> None:
        self._check()
        self._disk.sync(self._inode)

    def pread(self, offset: int, length: int) -> bytes:
        self._check()
        data = self._disk.read(self._inode, offset, length)
        return self._disk.misread(data) if self._rots else data

    def pread_cached(self, offset: int, length: int) -> bytes | None:
        return self.pread(offset, length)

    def map(self) -> memoryview:
        self._check()
        data = bytes(self._inode.data)
        return memoryview(self._disk.misread(data) if self._rots and self._blob else data)

    def resident(self, offset: int, length: int) -> bool:
        return True

    def load(self, offset: int, length: int) -> None:
        self._check()

    def unmap(self, offset: int, length: int) -> None:
        """Nothing is mapped."""

    def drop_cache(self) -> None:
        """There is no cache."""

    def start_writeback(self, offset: int, length: int) -> None:
        """Nothing becomes durable by this."""

    def size(self) -> int:
        return len(self._inode.data)

    def truncate(self, size: int) -> None:
        self._check()
        self._disk.truncate(self._inode, size)

    def close(self) -> None:
        """Nothing to let go of."""


class _Lock(SimFile):
    def __init__(self, disk: SimDisk, path: str, life: Life) -> None:
        super().__init__(disk, Inode(), life)
        self._path = path

    def close(self) -> None:
        if self._life.alive:
            self._disk.locks.discard(self._path)


class DiskDoor:
    """The disk door of one life: shut when it ends."""

    def __init__(self, disk: SimDisk, life: Life) -> None:
        self.disk = disk
        self._life = life

    def _open_door(self) -> SimDisk:
        if not self._life.alive:
            raise OSError(errno.EIO, "the process is dead")
        return self.disk

    def create(self, path: str) -> SimFile:
        return SimFile(self.disk, self._open_door().create(path), self._life)

    def create_uncached(self, path: str) -> SimFile:
        return self.create(path)

    def open(self, path: str, *, writable: bool = False) -> SimFile:
        inode = self._open_door().names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, path)
        return SimFile(self.disk, inode, self._life, path)

    def rename(self, source: str, target: str) -> None:
        self._open_door().rename(source, target)

    def unlink(self, path: str) -> None:
        self._open_door().unlink(path)

    def sync_dir(self, path: str) -> None:
        self._open_door().sync_dir(path)

    def make_dirs(self, path: str) -> None:
        self._open_door().make_dirs(path)

    def list_dir(self, path: str) -> list[str]:
        return self._open_door().list_dir(path)

    def free_bytes(self, path: str) -> int:
        return self._open_door().free_bytes()

    def lock(self, path: str) -> SimFile:
        disk = self._open_door()
        if path in disk.locks:
            raise BlockingIOError(errno.EAGAIN, path)
        disk.locks.add(path)
        return _Lock(disk, path, self._life)

    def open_index(self, path: str) -> MemoryIndex:
        """The index in a directory, as its last commit left it."""

        def committed(tables: Tables) -> None:
            self._open_door().commit_index(path, tables)

        return MemoryIndex(self.disk.index.get(path), committed)


class SlowDisk:
    """How long jobs take: runs them for a device's lanes and for its blob executor."""

    def __init__(self, disk: SimDisk, life: Life, rng: random.Random) -> None:
        self._disk = disk
        self._life = life
        self._rng = rng

    @property
    def alive(self) -> bool:
        """Whether the process that the jobs are of is."""
        return self._life.alive

    def carry_out(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `work` now; `done` is told its result or error when it has taken its time."""
        job = Job()
        try:
            with self._disk.working(job):
                outcome = work()
        except Exception as error:
            outcome = error

        def ended() -> None:
            self._disk.finish(job)
            done(outcome)

        time_s = self._time_s(bool(job.syncs))
        self._life.soon(time_s, ended)
        if job.syncs and (ambush := self._disk.ambush) is not None:
            self._disk.ambush = None
            at_s = self._rng.uniform(0, time_s)
            asyncio.get_running_loop().call_later(at_s, ambush, context=Context())

    def _time_s(self, syncs: bool) -> float:
        if not syncs:
            return 0.0
        usual = self._disk.stall_s + self._rng.uniform(0.0002, 0.003)
        return usual if self._rng.random() < 0.99 else usual + self._rng.uniform(0.05, 0.8)


class SimLane:
    """A lane whose jobs take virtual time, one after the other."""

    def __init__(self, slow: SlowDisk) -> None:
        self._slow = slow
        self._jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._busy = False

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """See Lane."""
        self._jobs.append((work, done))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if self._busy:
            work, done = self._jobs.pop(0)
            self._slow.carry_out(work, lambda outcome: self._ended(done, outcome))

    def _ended(self, done: Callable[[Any], None], outcome: Any) -> None:
        try:
            done(outcome)
        finally:
            self._next()

    async def close(self) -> None:
        """See Lane. In a dead process nothing ends any more."""
        if not self._slow.alive:
            return
        ended = asyncio.get_running_loop().create_future()
        self.submit(lambda: None, lambda _: None if ended.done() else ended.set_result(None))
        await ended


class SimExecutor:
    """Blob files' executor: jobs side by side, each in its own time."""

    def __init__(self, slow: SlowDisk, life: Life) -> None:
        self._slow = slow
        self._life = life

    def start(self, work: Callable[[], Any], done: Any) -> None:
        """See TimedExecutor."""
        if not self._life.alive:
            raise RuntimeError("the executor is shut down")

        def ended(outcome: Any) -> None:
            if done.done():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        self._slow.carry_out(work, ended)
