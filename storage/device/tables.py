"""A device's tables over one index: rows, garbage, blobs, usage, and what moves them about."""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final

from runtime.clock import Clock
from runtime.disk import Disk
from storage.device import upgrade
from storage.device.checkpoint import Checkpointer, Frozen, read_checkpoint
from storage.device.committed import CommittedBlobs
from storage.device.compaction import Compactor
from storage.device.config import DeviceConfig
from storage.device.eraser import Eraser
from storage.device.erasures import ErasureTable
from storage.device.exchange import Exchange
from storage.device.garbage import GarbageTable
from storage.device.index_contract import FORMAT, Index, Table
from storage.device.journal import Journal
from storage.device.lane import Lane
from storage.device.payloads import Payloads
from storage.device.record import Position
from storage.device.recovery import FLUSH_ROWS, Recovered, Recovery, Replayer
from storage.device.register import Room, RowTable
from storage.device.shards import Shard
from storage.device.usage import SegmentUsage

SLICE_SHARDS: Final = 1000
"""Shards read per turn of the loop when a device opens: about two milliseconds."""


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
        on_damage: Callable[[Exception], None],
        on_failure: Callable[[str, BaseException], None],
        on_rows: Callable[[], None],
    ) -> None:
        """checkpointed: told how one ended. on_damage: told when the index fails. on_failure: told of
        a task's error. on_rows: told that there may be enough rows for a checkpoint."""
        self._disk = disk
        self._incarnation = incarnation
        self._journal = journal
        self.index = index
        self.usage = SegmentUsage(index)
        self.garbage = GarbageTable(index, self.usage)
        self.committed = CommittedBlobs(index, self.usage)
        self.erasures = ErasureTable(index, self.usage)
        self.payloads = Payloads(disk, journal.files, f"{path}/quarantine", read_lane)
        self.rows = RowTable(index, journal, clock, room, self.payloads, self.usage, self.garbage)
        self.exchange = Exchange(self.rows, journal, room, self.payloads, on_damage, on_failure)
        self.eraser = Eraser(
            self.rows,
            self.erasures,
            journal,
            self.payloads,
            on_failure,
            on_rows,
            config.drop_rows_per_turn,
        )
        self._overlays = [self.garbage.overlay, self.committed.overlay, self.erasures.overlay]
        self.checkpointer = Checkpointer(
            index,
            self.rows,
            self._overlays,
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
            self.erasures,
            self.payloads.found_bad,
            config.compact_bytes_per_s,
        )

    async def replay(self) -> Recovered:
        """Apply what the journal has behind the index's checkpoint. IndexDamagedError, OSError."""
        position, version = read_checkpoint(self.index)
        if position is not None:
            if version < FORMAT:
                await upgrade.from_format_1(self.index, position)
            await self._restore(position)
        recovery = Recovery(
            self._disk,
            self._journal.files,
            self._incarnation,
            Replayer(self.rows, self.garbage, self.committed, self.eraser),
            self.checkpointer.run_now,
            lambda: self.rows.dirty_rows,
        )
        return await recovery.run(position)

    async def _restore(self, position: Position) -> None:
        """Take the index's shards into the catalog, and end the removal of those that were dropped:
        before the replay, which may have new rows for them."""
        erasing = []
        items = self.index.scan(Table.SHARDS, b"", b"")
        while some := list(islice(items, SLICE_SHARDS)):
            for prefix, guarded in some:
                shard = Shard(prefix[1:])
                shard.restore(guarded)
                self.rows.catalog.note(shard)
                if shard.erasing:
                    erasing.append(shard.key)
            await asyncio.sleep(0)
        for key in erasing:
            await self._end_removal(self.rows.shard(key), position)

    async def _end_removal(self, shard: Shard, position: Position) -> None:
        start = self.eraser.remove_some(shard, b"")
        while start:
            if self.rows.dirty_rows >= FLUSH_ROWS:
                self.checkpointer.run_now(position)
            await asyncio.sleep(0)
            start = self.eraser.remove_some(shard, start)

    async def close(self) -> None:
        """End what these tables do by themselves."""
        await self.exchange.close()
        await self.eraser.close()

    @property
    def dirty(self) -> bool:
        """True where the index lacks something that no checkpoint is writing."""
        return bool(self.rows.dirty_rows or any(overlay.dirty for overlay in self._overlays))
