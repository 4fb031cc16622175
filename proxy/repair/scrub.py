"""scrub: reads everything on a device against its checksums, once in each promised period.

Blobs go in order of their ids, then rows by partition and shard. What is bad is set aside by the
device; a bad row is written again from the others at once, a missing blob is the rebuilding's. The
pace is what is left by the time that is left, so a round ends on the date that its status gives. Its
place is kept in a small file on the device: a restart goes on where it was.

A blob that is in memory is checked as it is there: its readers get those bytes. When it has left
memory a later round reads it from the disk.

A mark that is dated in the future is a clock's that was wrong: it holds back no round.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from proxy.core.asking import WALK_TIME_S, told
from proxy.core.owners import UNPROVABLE
from proxy.core.rows import Rows
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.rebuild import Rings
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from runtime.clock import Clock
from storage.contract import DeviceClient
from storage.types import (
    DAMAGED,
    GROUP_PARTITIONS_MAX,
    PULL_ROWS_MAX,
    SUMMARY_PARTITIONS_MAX,
    BlobEntry,
    BlobName,
    ListShards,
    Pull,
    Pulled,
    ShardList,
    Summarize,
    Summary,
)

BLOBS_PER_UNIT: Final = 16

PARTITIONS_AT_ONCE: Final = min(GROUP_PARTITIONS_MAX, SUMMARY_PARTITIONS_MAX)

SAVE_S: Final = 10.0
"""The mark is saved this often: a restart reads at most so much again."""

EARLY: Final = 0.95
"""A round aims at this part of its period, to end in time."""

LEFT_MIN_S: Final = 600.0
"""A round that is late takes at least so long for what is left."""

BYTES_S_MIN: Final = 256 * 1024.0

LOOK_AGAIN_S: Final = 600.0


class ScrubMark(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scrubbing of a device is. Stored: fields are only added, with defaults.

    begun_s: Unix seconds of the round's begin, 0 before the first. blobs_done: the blobs are behind
    it, `blob` the last one. partition, shard: of the rows, up to (and with) this shard. ended_s: of the
    last round that ended. damaged: what this round found.
    """

    begun_s: float = 0.0
    blob: BlobName | None = None
    blobs_done: bool = False
    partition: int = 0
    shard: bytes = b""
    done: int = 0
    done_bytes: int = 0
    damaged: int = 0
    ended_s: float = 0.0
    running: bool = False


class MarkFile(Protocol):
    """Keeps a device's mark."""

    async def load(self) -> bytes:
        """What was saved last; b"" where nothing was, or it can't be read."""

    async def save(self, data: bytes) -> None:
        """Keep it durably. Raises OSError."""


class VerifiesBlobs(Protocol):
    """A device of this process that reads its own blobs for the sake of it."""

    async def verify_blob(self, name: BlobName) -> bool:
        """Whether a committed blob is whole; a bad one is set aside, one that was deleted meanwhile is
        not bad. Raises DeviceFault."""


def pace_bytes_s(left_bytes: int, begun_s: float, now_s: float, period_s: float) -> float:
    """How fast to read so that a round ends within its period."""
    left_s = max(LEFT_MIN_S, begun_s + period_s * EARLY - now_s)
    return max(BYTES_S_MIN, left_bytes / left_s)


class Scrubber:
    """Scrubs one device of this process. period_s: how often everything is read."""

    name = "scrub"

    def __init__(
        self,
        device: DeviceClient,
        verifier: VerifiesBlobs,
        rows: Rows,
        rings: Rings,
        mark_file: MarkFile,
        clock: Clock,
        pace: Pace,
        period_s: float,
        on_missing: Callable[[], None],
    ) -> None:
        """on_missing: told where a blob was set aside."""
        self.pace = pace
        self._device = device
        self._verifier = verifier
        self._rows = rows
        self._rings = rings
        self._file = mark_file
        self._clock = clock
        self._period_s = period_s
        self._on_missing = on_missing
        self._tally = Tally(clock)
        self._mark: ScrubMark | None = None
        self._saved_at = -SAVE_S
        self._hurried = False
        self._blobs_damaged = self._rows_damaged = self._rows_healed = 0

    def hurry(self) -> None:
        """Read everything now, as fast as requests leave it; a round under way goes on faster."""
        self._hurried = True

    def status(self) -> WorkerStatus:
        """See Worker."""
        mark = self._mark or ScrubMark()
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device.device_id}",
            doing=self._doing(mark),
            done=mark.done,
            done_bytes=mark.done_bytes,
            left_bytes=self._tally.left_bytes if self._running(mark) else None,
            rate_s=self._tally.rate_s,
            rate_bytes_s=self._tally.rate_bytes_s,
            since_s=mark.begun_s,
            eta_s=self._eta_s(mark),
            counts={
                "blobs_damaged": self._blobs_damaged,
                "rows_damaged": self._rows_damaged,
                "rows_healed": self._rows_healed,
            },
        )

    def _running(self, mark: ScrubMark) -> bool:
        return mark.running

    def _doing(self, mark: ScrubMark) -> str:
        found = f"; {mark.damaged} bad this round" if mark.damaged else ""
        if not self._running(mark):
            if not mark.ended_s:
                return "nothing was read yet"
            before = f"{datetime.fromtimestamp(mark.begun_s, UTC):%Y-%m-%d %H:%M} UTC"
            return f"what was stored before {before} was read{found or ' and is sound'}"
        return f"reading {'rows' if mark.blobs_done else 'blobs'}{found}"

    def _eta_s(self, mark: ScrubMark) -> float | None:
        """The date of the present round's end."""
        if not self._running(mark):
            return None
        now_s = self._clock.now_ns() / 1e9
        left_bytes = self._tally.left_bytes or 0
        if self._hurried:
            return self._tally.eta_s
        rate = pace_bytes_s(left_bytes, mark.begun_s, now_s, self._period_s)
        return now_s + left_bytes / rate

    async def work(self) -> Worked:
        """A few blobs, or a page of rows."""
        ring = self._rings()
        mark = await self._marked()
        now_s = self._clock.now_ns() / 1e9
        if mark.begun_s > now_s and self._running(mark):
            self._mark = mark = msgspec.structs.replace(mark, begun_s=now_s)
        if not self._running(mark):
            if 0 <= now_s - mark.begun_s < self._period_s and not self._hurried:
                return Worked.IDLE
            mark = ScrubMark(begun_s=now_s, ended_s=mark.ended_s, running=True)
        if self._tally.left_bytes is None:
            await self._measure(ring, mark)
        left_bytes = self._tally.left_bytes or 0
        at_leisure = pace_bytes_s(left_bytes, mark.begun_s, now_s, self._period_s)
        self.pace.bytes_s = 0.0 if self._hurried else at_leisure
        mark = await (self._some_rows(ring, mark) if mark.blobs_done else self._some_blobs(mark))
        self._mark = mark
        if not self._running(mark) or self._clock.monotonic() - self._saved_at >= SAVE_S:
            await self._file.save(msgspec.msgpack.encode(mark))
            self._saved_at = self._clock.monotonic()
        return Worked.BUSY if self._running(mark) else Worked.IDLE

    async def _marked(self) -> ScrubMark:
        if self._mark is None:
            try:
                self._mark = msgspec.msgpack.decode(await self._file.load(), type=ScrubMark)
            except msgspec.MsgspecError:
                self._mark = ScrubMark()  # none yet, or a damaged one: begin anew
        return self._mark

    async def _measure(self, ring: Ring, mark: ScrubMark) -> None:
        """How much there is to read."""
        size_bytes, first = 0, 0
        while first < ring.partition_count:
            count = min(PARTITIONS_AT_ONCE, ring.partition_count - first)
            groups = await self._device.group_blobs(ring.salt, ring.part_power, "", first, count)
            size_bytes += sum(group.size_bytes for group in groups)
            summary = await self._summary(ring, first, count)
            size_bytes += sum(one.size_bytes for one in summary.partitions)
            first += count
        self._tally.begin(None, max(0, size_bytes - mark.done_bytes))

    async def _summary(self, ring: Ring, first: int, count: int) -> Summary:
        message = Summarize(ring.salt, ring.part_power, first, count)
        return await told(self._clock, WALK_TIME_S, self._device, message, Summary)

    # -- blobs -----------------------------------------------------------------------------------

    async def _some_blobs(self, mark: ScrubMark) -> ScrubMark:
        entries = await self._device.list_blobs(mark.blob, BLOBS_PER_UNIT)
        for entry in entries:
            mark = await self._verified(mark, entry)
        return msgspec.structs.replace(mark, blobs_done=len(entries) < BLOBS_PER_UNIT)

    async def _verified(self, mark: ScrubMark, entry: BlobEntry) -> ScrubMark:
        begun = self._clock.monotonic()
        sound = await self._verifier.verify_blob(entry.header.name)
        if not sound:
            self._blobs_damaged += 1
            self._on_missing()
        self._tally.did(1, entry.size_bytes)
        await self.pace.spend(self._clock.monotonic() - begun, entry.size_bytes)
        return msgspec.structs.replace(
            mark,
            blob=entry.header.name,
            done=mark.done + 1,
            done_bytes=mark.done_bytes + entry.size_bytes,
            damaged=mark.damaged + (not sound),
        )

    # -- rows ------------------------------------------------------------------------------------

    async def _some_rows(self, ring: Ring, mark: ScrubMark) -> ScrubMark:
        """The next shard, whole; of small ones one unit is one shard, which is a page."""
        if mark.partition >= ring.partition_count:
            return self._ended(mark)
        asked = ListShards(ring.salt, ring.part_power, mark.partition, mark.shard)
        listed = await told(self._clock, WALK_TIME_S, self._device, asked, ShardList)
        if not listed.shards:
            following = await self._next_partition(ring, mark.partition + 1)
            return msgspec.structs.replace(mark, partition=following, shard=b"")
        for shard in listed.shards:
            mark = await self._read_shard(mark, shard.key)
        return mark

    async def _next_partition(self, ring: Ring, first: int) -> int:
        """The next partition of which the device holds rows; the ring's end for none."""
        while first < ring.partition_count:
            count = min(PARTITIONS_AT_ONCE, ring.partition_count - first)
            summary = await self._summary(ring, first, count)
            if summary.partitions:
                return summary.partitions[0].partition
            first += count
        return ring.partition_count

    def _ended(self, mark: ScrubMark) -> ScrubMark:
        self._tally.begin()
        self._hurried = False
        return msgspec.structs.replace(mark, ended_s=self._clock.now_ns() / 1e9, running=False)

    async def _read_shard(self, mark: ScrubMark, key: bytes) -> ScrubMark:
        start = b""
        done = done_bytes = damaged = 0
        while True:
            begun = self._clock.monotonic()
            asked = Pull(key, start, PULL_ROWS_MAX)
            page = await told(self._clock, WALK_TIME_S, self._device, asked, Pulled)
            bad = [row.name for row in page.rows if row.payload_bytes == DAMAGED]
            for name in bad:
                await self._try_heal(key, name)
            size_bytes = sum(max(0, row.payload_bytes) + len(row.head) for row in page.rows)
            done, done_bytes = done + len(page.rows), done_bytes + size_bytes
            damaged += len(bad)
            self._tally.did(len(page.rows), size_bytes)
            await self.pace.spend(self._clock.monotonic() - begun, size_bytes)
            start = page.next_start
            if not start:
                break
        return msgspec.structs.replace(
            mark,
            shard=key,
            done=mark.done + done,
            done_bytes=mark.done_bytes + done_bytes,
            damaged=mark.damaged + damaged,
        )

    async def _try_heal(self, shard: bytes, name: bytes) -> None:
        """Write a bad row again here, as the others have it. What fails now, the next round finds."""
        self._rows_damaged += 1
        members = 0
        for member, device in enumerate(self._rows.replicas(shard).devices):
            if device.device_id == self._device.device_id:
                members = 1 << member
        try:
            await self._rows.heal(shard, name, members)
        except UNPROVABLE:
            return
        self._rows_healed += 1
