"""A device's tables over one index: rows, garbage, blobs, usage, and what moves them about."""

import asyncio
from collections.abc import Callable

from runtime.clock import Clock
from runtime.disk import Disk
from storage.device.checkpoint import Checkpointer, Frozen, read_position
from storage.device.committed import CommittedBlobs
from storage.device.compaction import Compactor
from storage.device.config import DeviceConfig
from storage.device.garbage import GarbageTable
from storage.device.index_contract import Index
from storage.device.journal import Journal
from storage.device.lane import Lane
from storage.device.payloads import Payloads
from storage.device.recovery import Recovered, Recovery, Replayer
from storage.device.register import Room, RowTable
from storage.device.usage import SegmentUsage


class Tables:
    """Everything whose truth is the journal. IndexDamagedError where the index can't be read."""

    def __init__(
        self,
        path: str,
        disk: Disk,
        clock: Clock,
        config: DeviceConfig,
        incarnation: bytes,
        journal: Journal,
        index: Index,
        room: Room,
        index_lane: Lane,
        read_lane: Lane,
        checkpointed: Callable[[Frozen, Exception | None], None],
    ) -> None:
        self._disk = disk
        self._incarnation = incarnation
        self._journal = journal
        self.index = index
        self.usage = SegmentUsage(index)
        self.garbage = GarbageTable(index, self.usage)
        self.committed = CommittedBlobs(index, self.usage)
        self.payloads = Payloads(disk, journal.files, f"{path}/quarantine", read_lane)
        self.rows = RowTable(index, journal, clock, room, self.payloads, self.usage, self.garbage)
        self.checkpointer = Checkpointer(
            index,
            self.rows,
            [self.garbage.overlay, self.committed.overlay],
            self.usage,
            index_lane,
            asyncio.get_running_loop().call_soon,
            checkpointed,
        )
        self.compactor = Compactor(
            disk,
            journal,
            incarnation,
            clock,
            read_lane,
            self.rows,
            self.garbage,
            self.committed,
            self.payloads.found_bad,
            config.compact_bytes_per_s,
        )

    async def replay(self) -> Recovered:
        """Apply what the journal has behind the index's checkpoint. IndexDamagedError, OSError."""
        position = read_position(self.index)
        recovery = Recovery(
            self._disk,
            self._journal.files,
            self._incarnation,
            Replayer(self.rows, self.garbage, self.committed),
            self.checkpointer.run_now,
            lambda: self.rows.dirty_rows,
        )
        return await recovery.run(position)

    @property
    def dirty(self) -> bool:
        """True where the index lacks something that no checkpoint is writing."""
        return bool(self.rows.dirty_rows or self.garbage.overlay.dirty or self.committed.overlay.dirty)
