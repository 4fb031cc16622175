"""A device engine over a recording disk: everything runs on the test's loop, in a fixed order."""

import asyncio
import errno
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from storage.device.engine import Device, DeviceConfig
from storage.device.index_contract import OpenIndex
from storage.device.index_memory import MemoryIndex
from storage.device.lane import Done, InlineLane, LaneFactory, Work
from storage.types import ZERO_STAMP, Prepare, RowAnswer, RowMessage, Write
from tests.crash.crash_images import Image
from tests.crash.recording_disk import RecordingDisk

ROOT = "device"
SMALL = DeviceConfig(
    segment_bytes=4096,
    checkpoint_rows=1 << 30,
    reserve_bytes=1024,
    compact_below=0.9,
    compact_bytes_per_s=1 << 40,
    drop_rows_per_turn=2,
)
"""Many segments; checkpoints only when the test asks."""


class ManualClock:
    """Goes on when it is told to."""

    def __init__(self, start_s: int = 1_800_000_000) -> None:
        self.seconds = float(start_s)

    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class InlineExecutor(Executor):
    """Runs calls where they are submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LateLane:
    """Runs jobs in order on the loop, each some turns after it was submitted, its `done` some turns
    later: long enough for other things to happen in between."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[tuple[Work, Done]] = deque()
        self._idle = True

    def submit(self, work: Work, done: Done) -> None:
        """See Lane."""
        self._jobs.append((work, done))
        if self._idle:
            self._idle = False
            self._later(self._run)

    def _later(self, then: Callable[[], None], turns: int | None = None) -> None:
        turns = self._rng.choice((0, 1, 5)) if turns is None else turns
        self._loop.call_soon(then if turns == 0 else lambda: self._later(then, turns - 1))

    def _run(self) -> None:
        work, done = self._jobs.popleft()
        outcome: Any
        try:
            outcome = work()
        except Exception as error:
            outcome = error
        self._later(lambda: self._ran(done, outcome))

    def _ran(self, done: Done, outcome: Any) -> None:
        done(outcome)
        self._idle = not self._jobs
        if self._jobs:
            self._later(self._run)

    async def close(self) -> None:
        """See Lane."""
        while not self._idle:
            await asyncio.sleep(0)


class DeviceRig:
    """One device, from an image or new."""

    def __init__(self, disk: RecordingDisk, clock: ManualClock) -> None:
        self.disk = disk
        self.clock = clock
        self.device: Device
        self.index_full = False
        self.index_fails = False
        self._hybrid = HybridClock(clock, b"rig-rig-")

    @classmethod
    async def open(
        cls,
        disk: RecordingDisk,
        clock: ManualClock | None = None,
        *,
        lanes: LaneFactory = InlineLane,
        seed: int = 7,
        device_id: int = 3,
        verify: Callable[[str], str] = lambda path: "",
        open_index: OpenIndex | None = None,
    ) -> "DeviceRig":
        """Open the device on `disk`. open_index: instead of the in-memory twin."""
        rig = cls(disk, clock or ManualClock())
        rig.device = await Device.open(
            ROOT,
            disk,
            rig.clock,
            SeededRandomness(seed),
            device_id=device_id,
            cluster="tests",
            config=SMALL,
            lanes=lanes,
            open_index=open_index or rig.open_index,
            verify_index=verify,
            executor=InlineExecutor(),
        )
        return rig

    def open_index(self, path: str) -> MemoryIndex:
        """The index as the disk has it; its commits are events of the disk."""

        def committed(tables: Any) -> None:
            if self.index_full:
                raise OSError(errno.ENOSPC, "no space left on device")
            if self.index_fails:
                raise OSError(errno.EIO, "input/output error")
            self.disk.commit_index(path, tables)

        return MemoryIndex(self.disk.open_index(path), committed)

    def stamp(self) -> bytes:
        """A new stamp."""
        return self._hybrid.stamp()

    def send(self, message: RowMessage, payload: bytes = b"") -> "asyncio.Future[Any]":
        """Send a message; its answer and payload."""
        answered: asyncio.Future[tuple[RowAnswer, bytes]]
        answered = asyncio.get_running_loop().create_future()
        self.device.send(
            message, payload, self.clock.monotonic() + 10, lambda *both: answered.set_result(both)
        )
        return answered

    async def ask(self, message: RowMessage, payload: bytes = b"") -> RowAnswer:
        """The answer to a message."""
        answer: RowAnswer = (await self.send(message, payload))[0]
        return answer

    def write(self, shard: bytes, name: bytes, payload: bytes, flags: int = 0) -> Write:
        """A plain write with a new stamp."""
        return Write(shard, name, self.stamp() + ZERO_STAMP, flags, len(payload), b"head of " + name)

    def prepare(self, shard: bytes, name: bytes) -> Prepare:
        """A prepare with a new ballot."""
        return Prepare(shard, name, self.stamp())

    async def quiet(self) -> None:
        """Wait until no checkpoint and no compaction goes on."""
        while len(self.device._upkeep._tasks) or not self.device._upkeep._idle.is_set():
            await asyncio.sleep(0)

    def crash(self) -> Image:
        """Let go without a goodbye. What the program saw."""
        self.device.stop_serving("crashed")
        self.device._close_index()
        self.disk.locks.clear()
        return self.disk.image()
