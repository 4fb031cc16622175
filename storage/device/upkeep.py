"""What a device does by itself: looks for passed deadlines, writes checkpoints when they are due,
removes dead journal segments and compacts poor ones."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from runtime.clock import Clock
from runtime.disk import Disk
from runtime.tasks import TaskOwner
from storage.contract import DeviceFault
from storage.device.checkpoint import Frozen, is_no_room
from storage.device.compaction import ERASURES_SHARE, candidates, live_ratio
from storage.device.config import DeviceConfig
from storage.device.held import IndexDamagedError
from storage.device.journal import Journal
from storage.device.lane import Lane
from storage.device.opening import started_well
from storage.device.tables import Tables

TICK_S: Final = 0.25
"""How often a busy device looks for passed deadlines and a checkpoint that is due."""

MOVES_OF_FREE: Final = 0.75
"""Compaction moves no segment whose live bytes exceed this share of the free room."""

COMPACT_AGAIN_S: Final = 30.0
"""A compaction that found no room, or could not read, is tried again after this long."""

LASTED_S: Final = 10.0
"""A start that lasted so long was a good one (see opening.STARTS)."""


class Upkeep:
    """The background work of one device. Belongs to the loop's thread.

    on_damage: told when the index fails. on_failure: told why the device must stop serving.
    on_note: told what an operator may want to know.
    """

    def __init__(
        self,
        path: str,
        disk: Disk,
        clock: Clock,
        config: DeviceConfig,
        journal: Journal,
        lane: Lane,
        *,
        on_damage: Callable[[Exception], None],
        on_failure: Callable[[str], object],
        on_note: Callable[[str], None],
    ) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._config = config
        self._journal = journal
        self._lane = lane
        self._on_damage = on_damage
        self._on_failure = on_failure
        self._on_note = on_note
        self._loop = asyncio.get_running_loop()
        self._tables: Tables | None = None
        self._tasks = TaskOwner("upkeep", self._task_failed)
        self._idle = asyncio.Event()
        self._idle.set()
        self._compacted: dict[int, int] = {}
        self._lasting: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self.checkpoint_at: float | None = None

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._on_failure(f"{name}: {error!r}")

    def start(self, tables: Tables) -> None:
        """Take care of `tables` from now on."""
        self._tables = tables
        self._lasting = self._loop.call_later(LASTED_S, self._has_lasted)
        if tables.dirty:
            self.arm()

    def _has_lasted(self) -> None:
        self._lane.submit(partial(started_well, self._path, self._disk), lambda outcome: None)

    def stop(self) -> None:
        """Begin nothing more: the device stopped serving."""
        for timer in (self._timer, self._lasting, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = self._tables = None

    async def close(self) -> None:
        """End the compaction and wait until the last checkpoint has ended."""
        await self._tasks.close()
        await self.checkpoint()
        if self._tables is not None:
            with suppress(OSError):  # a disk that went away must not keep others from being closed
                started_well(self._path, self._disk)
        self.stop()

    # -- ticks ---------------------------------------------------------------------------------

    def arm(self) -> None:
        """Something is under way: look after it."""
        if self._timer is None and self._tables is not None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        tables = self._tables
        if tables is None:
            return
        try:
            self._look_after(tables, self._clock.monotonic())
        finally:
            if tables.dirty or tables.checkpointer.running or not self._journal.idle:
                self.arm()

    def _look_after(self, tables: Tables, now: float) -> None:
        if tables.dirty and self._is_due(now):
            self._begin(tables)
        self._expire(now)

    def _expire(self, now: float) -> None:
        """Answer those whose deadline passed while the disk was at work."""
        for batch in self._journal.batches():
            for item in batch.items:
                if item.deadline <= now:
                    item.expire()

    def _is_due(self, now: float) -> bool:
        at = self.checkpoint_at
        return at is None or now - at >= self._config.checkpoint_interval_s

    # -- checkpoints -----------------------------------------------------------------------------

    def applied(self) -> None:
        """Rows became durable: a checkpoint is due when there are enough of them."""
        if self._tables is not None and self._tables.rows.dirty_rows >= self._config.checkpoint_rows:
            self._begin(self._tables)

    def changed(self) -> None:
        """Rows changed that no message waits for: look after them."""
        self.arm()
        self.applied()

    async def idle(self) -> None:
        """Wait until no checkpoint is under way."""
        await self._idle.wait()

    async def checkpoint(self) -> None:
        """Write what is applied now into the index; wait until it is there, or could not be."""
        await self._idle.wait()
        while (tables := self._tables) is not None and tables.dirty:
            self._begin(tables)
            await self._idle.wait()
            if tables.checkpointer.unfinished:
                return

    def _begin(self, tables: Tables) -> None:
        if tables.checkpointer.running:
            return
        self.checkpoint_at = self._clock.monotonic()
        self._idle.clear()
        try:
            tables.checkpointer.start(self._journal.applied)
        except IndexDamagedError as error:
            self._idle.set()
            self._on_damage(error)

    def checkpointed(self, frozen: Frozen, error: Exception | None) -> None:
        """A checkpoint has ended."""
        self._idle.set()
        if error is None:
            self._remove_dead(frozen)
            self._compact_some()
        elif is_no_room(error):
            self._journal.free_bytes = 0
        elif isinstance(error, IndexDamagedError):
            self._on_damage(error)
        else:
            self._on_failure(f"index: {error}")

    # -- segments --------------------------------------------------------------------------------

    def _remove_dead(self, frozen: Frozen) -> None:
        """Unlink segments that the index, as it now is on disk, does not point to."""
        files, tables = self._journal.files, self._tables
        for number in sorted(files.known):
            dead = frozen.live.get(number, 0) <= 0
            if dead and number < frozen.position.segment and tables is not None:
                tables.usage.forget(number)
                self._compacted.pop(number, None)
                files.drop(number)
                self._lane.submit(partial(self._disk.unlink, files.path(number)), lambda outcome: None)
        if tables is not None and tables.erasures.size_bytes:
            self._retire_erasures(tables, min(files.known, default=0))

    def _retire_erasures(self, tables: Tables, oldest: int) -> None:
        """Let go of erasures of what lay before `oldest`, once it is gone for good."""

        def synced(outcome: object) -> None:
            if tables is self._tables and not isinstance(outcome, Exception):
                tables.erasures.retire(oldest)

        if tables.erasures.needless(oldest):
            directory = f"{self._path}/journal"
            self._lane.submit(partial(self._disk.sync_dir, directory), synced)

    def _compact_some(self) -> None:
        """Begin to compact the emptiest segment, if one is worth it and none is under way."""
        if self._tables is None or len(self._tasks) or self._again is not None:
            return
        number = self._poorest(self._tables.usage.live)
        if number is None:
            number = self._in_the_way(self._tables)
        if number is not None:
            self._tasks.spawn("compact", self._compact(self._tables, number))

    def _poor(self, live: dict[int, int]) -> list[int]:
        """Segments worth compacting, the emptiest first; not those where it has changed nothing."""
        files, config = self._journal.files, self._config
        below = live_ratio(config, self._journal.free_bytes)
        bound = below * config.segment_bytes
        poor = [number for number in files.known if live.get(number, 0) < bound]
        fresh = [number for number in poor if self._compacted.get(number) != live.get(number, 0)]
        sizes = {number: files.size(number) for number in fresh}
        return candidates(live, sizes, self._journal.segment, below)

    def _poorest(self, live: dict[int, int]) -> int | None:
        found = self._poor(live)
        # Moving needs room before it gives any: on a full device not more than deletes can spare.
        if not found or live.get(found[0], 0) > self._journal.free_bytes * MOVES_OF_FREE:
            return None
        return found[0]

    def _in_the_way(self, tables: Tables) -> int | None:
        """The oldest segment, where what it may hold keeps too many erasures needed."""
        erased, live = tables.erasures.size_bytes, tables.usage.live
        if erased <= max(self._config.segment_bytes, ERASURES_SHARE * sum(live.values())):
            return None
        oldest = min(self._journal.files.known, default=self._journal.segment)
        roomy = live.get(oldest, 0) <= self._journal.free_bytes * MOVES_OF_FREE
        return oldest if roomy and oldest < self._journal.segment else None

    async def _compact(self, tables: Tables, number: int) -> None:
        """Move what is live in a segment; the checkpoint after that removes it."""
        try:
            result = await tables.compactor.compact(number)
            if result.stuck is not None:
                self._on_note(f"segment {number} is damaged at offset {result.stuck}; it is kept")
        except (DeviceFault, OSError) as error:
            self._on_note(f"compaction of segment {number}: {error}")
            self._compact_again()
            return
        except IndexDamagedError as error:
            self._on_damage(error)
        self._compacted[number] = tables.usage.live.get(number, 0)

    def _compact_again(self) -> None:
        """Later, whether anything is written meanwhile or not: a full device waits for its room."""
        if self._tables is not None:
            self._again = self._loop.call_later(COMPACT_AGAIN_S, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        try:
            self._journal.free_bytes = self._disk.free_bytes(self._path)
        except OSError as error:
            self._on_note(f"how much room there is can't be told: {error}")
            self._compact_again()
            return
        self._compact_some()
        if self._tables is not None and not len(self._tasks) and self._poor(self._tables.usage.live):
            self._compact_again()
