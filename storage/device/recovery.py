"""Opening a device after a stop or a crash: replays the journal behind the index's checkpoint.

With no checkpoint in the index (a new one, or one that was damaged and set aside) the whole journal is
replayed: it always holds each row's newest record, because compaction moves what is live.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from runtime.disk import Disk
from storage.device.committed import CommittedBlobs
from storage.device.eraser import Eraser
from storage.device.erasures import decode_erasure
from storage.device.garbage import GarbageTable
from storage.device.held import EMPTY, Held, Replaced, decode_row_head
from storage.device.record import (
    FORMAT,
    GARBAGE,
    SEGMENT_HEADER_BYTES,
    Kind,
    Position,
    Record,
    salt,
)
from storage.device.register import RowTable, promised
from storage.device.replay import SegmentFindings, header_format, read_segment
from storage.device.segments import SegmentFiles
from storage.device.shards import split_key

SLICE_RECORDS: Final = 100
"""Records applied per turn of the loop: about a millisecond."""

FLUSH_ROWS: Final = 4096
"""A long replay writes a checkpoint after so many rows."""


class Recovered(NamedTuple):
    """end: where to go on writing. fault: why the device must not serve, or empty. rows: replayed."""

    end: Position
    fault: str
    rows: int
    bad_payloads: int


class Step(NamedTuple):
    """One segment's replay. end: None where nothing of it is left or known."""

    end: Position | None
    fault: str


class Replayer:
    """Applies records to the tables, as the engine did when they became durable."""

    def __init__(
        self, rows: RowTable, garbage: GarbageTable, blobs: CommittedBlobs, eraser: Eraser
    ) -> None:
        self._rows = rows
        self._garbage = garbage
        self._blobs = blobs
        self._eraser = eraser
        self.count = 0

    def apply(self, segment: int, record: Record) -> None:
        """Apply one record. IndexDamagedError; ValueError for one that can't be understood."""
        self.count += 1
        match record.kind:
            case Kind.ROW | Kind.PROMISE:
                self._row(segment, record)
            case Kind.BLOB | Kind.BLOB_REMOVED:
                self._blobs.replay(segment, record)
            case Kind.FORGOTTEN:
                self._garbage.forget(list(msgspec.msgpack.decode(record.head, type=list[int])))
            case Kind.GARBAGE:
                self._hint(segment, record)
            case Kind.ERASED:
                erasure = decode_erasure(record.head)
                self._eraser.replay(erasure, segment, record.payload_offset, len(record.head))
            case _:
                raise ValueError(f"record kind {record.kind}")

    def _row(self, segment: int, record: Record) -> None:
        row = decode_row_head(record.head)
        key, name = split_key(row.key)
        shard = self._rows.shard(key)
        old = self._rows.durable(shard, name)
        if record.kind == Kind.PROMISE:
            base = old or Held(EMPTY, 0, 0, b"", 0, 0, 0, 0)
            new = promised(base, row.state, segment, record.payload_offset)
        else:
            place = segment, record.payload_offset, record.payload_bytes, record.payload_checksum
            new = Held(row.state, row.flags, row.size, row.head, *place)
        self._rows.install(shard, name, old, new, row.replaced if old is not None else None)

    def _hint(self, segment: int, record: Record) -> None:
        seq, replaced_ns, version = GARBAGE.unpack_from(record.head)
        place = segment, record.payload_offset, record.payload_bytes, record.payload_checksum
        self._garbage.add(seq, record.head[GARBAGE.size :], version, Replaced(replaced_ns, *place))

    def drop_lost_hints(self, segments: set[int]) -> None:
        """After a replay of everything, perhaps in two parts: hints whose manifest is gone since."""
        self._garbage.forget_lost(segments)


class Recovery:
    """One replay."""

    def __init__(
        self,
        disk: Disk,
        files: SegmentFiles,
        incarnation: bytes,
        replayer: Replayer,
        flush: Callable[[Position], None],
        unflushed: Callable[[], int],
    ) -> None:
        """flush: write a checkpoint of what is applied. unflushed: rows applied that none has."""
        self._disk = disk
        self._files = files
        self._seed = salt(incarnation)
        self._replayer = replayer
        self._flush = flush
        self._unflushed = unflushed
        self._bad_payloads = 0

    async def run(self, position: Position | None) -> Recovered:
        """Replay from `position`, or everything; cut off an unfinished write. OSError."""
        numbers = self._files.look()
        start = position or Position(numbers[0] if numbers else 0, 0)
        numbers = [number for number in numbers if number >= start.segment]
        if not numbers or numbers[0] != start.segment:
            return self._stopped(start, f"journal segment {start.segment} is missing")
        end = start
        for number in numbers:
            offset = start.offset if number == start.segment else 0
            step = await self._replay(number, offset, numbers)
            if step.fault:
                return self._stopped(step.end or end, step.fault)
            end = step.end or end
        self._replayer.drop_lost_hints(self._files.known)
        return Recovered(end, "", self._replayer.count, self._bad_payloads)

    async def _replay(self, number: int, offset: int, numbers: list[int]) -> Step:
        """Replay one segment; the last one's unfinished end is cut off."""
        first, last = number == numbers[0], number == numbers[-1]
        file = self._disk.open(self._files.path(number), writable=last)
        try:
            size = file.size()
            if offset > size or (first and size < SEGMENT_HEADER_BYTES):
                return Step(None, f"journal segment {number} is cut short")
            if size < SEGMENT_HEADER_BYTES and last:
                self._remove(number)
                return Step(None, "")
            if offset < size:
                file.load(offset, size - offset)  # touching mapped bytes that can't be read is fatal
            fault, found = await self._segment(file.map(), number, offset, last)
            if not fault and found is not None and last and found.end < size:
                file.truncate(found.end)
                file.sync()
            return Step(None if found is None else Position(number, found.end), fault)
        finally:
            file.close()

    async def _segment(
        self, view: memoryview, number: int, offset: int, last: bool
    ) -> tuple[str, SegmentFindings | None]:
        version = header_format(view)
        if version not in {None, FORMAT}:
            return f"journal segment {number} has format {version}, not {FORMAT}", None
        found = read_segment(view, number, offset, self._seed, has_successor=not last)
        try:
            await self._apply(number, found.records)
        except (ValueError, msgspec.MsgspecError) as error:
            return f"journal segment {number} can't be understood: {error}", found
        self._bad_payloads += found.bad_payloads
        if found.damaged is not None:
            text = f"journal segment {number} is damaged at offset {found.damaged}"
            return f"{text}: acknowledged rows are lost; replace the device", found
        return "", found

    async def _apply(self, number: int, records: list[Record]) -> None:
        for count, record in enumerate(records, 1):
            self._replayer.apply(number, record)
            if count % SLICE_RECORDS == 0:
                if self._unflushed() >= FLUSH_ROWS:
                    self._flush(Position(number, record.end))
                await asyncio.sleep(0)

    def _stopped(self, end: Position, fault: str) -> Recovered:
        return Recovered(end, fault, self._replayer.count, self._bad_payloads)

    def _remove(self, number: int) -> None:
        """A segment whose header did not get durable: nothing was ever acknowledged from it."""
        self._files.drop(number)
        self._disk.unlink(self._files.path(number))
