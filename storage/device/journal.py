"""The journal's writing side: one append, one sync, one answer for all that arrived meanwhile.

Records get their position when they are appended; they gather in a batch while the batch before is
written, and go out with one writev and one fdatasync on the device's journal lane. Preallocated
segments were measured and rejected: `fallocate` saves nothing on ext4 (the first write to an extent is
a metadata commit, too) and zeroing them first saves 70 us of 230 per sync but writes every byte twice.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from runtime.clock import Clock
from runtime.disk import Buffer, Disk, DiskFile
from storage.device.lane import Lane
from storage.device.record import (
    CHECK_BYTES,
    FRONT,
    MAGIC,
    POSITION,
    SEGMENT_HEADER_BYTES,
    Kind,
    Position,
    encode,
    salt,
)
from storage.device.segments import NO_ROOM, NoRoomError, SegmentFiles

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A batch that has grown past this takes no more records."""

BATCH_RECORD_BYTES: Final = FRONT.size + POSITION.size + CHECK_BYTES


class Batch:
    """Records that go out together. items: what their authors want back when they are durable."""

    __slots__ = ("buffers", "end", "items", "opens_segment", "segment", "start")

    def __init__(self, segment: int, start: int, opens_segment: bool) -> None:
        self.segment = segment
        self.start = start
        self.end = start
        self.opens_segment = opens_segment
        self.buffers: list[Buffer] = []
        self.items: list[Any] = []


class JournalOwner(Protocol):
    """Who is told how batches ended; always called on the loop, in the order of the batches."""

    def batch_durable(self, batch: Batch) -> None:
        """All records of the batch are durable."""

    def batches_refused(self, batches: list[Batch], error: Exception) -> None:
        """No room: none of these was written, and all else that was appended is among them."""

    def journal_broken(self, batches: list[Batch], error: Exception) -> None:
        """The journal is at its end: nothing is known of these batches, nothing more is written."""


class Journal:
    """Appends to the newest segment. All methods belong to the loop's thread."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        incarnation: bytes,
        lane: Lane,
        clock: Clock,
        segment_bytes: int,
        owner: JournalOwner,
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._incarnation = incarnation
        self._salt = salt(incarnation)
        self._lane = lane
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._owner = owner
        self._call_soon = call_soon
        self.files = SegmentFiles(disk, directory)
        self._writing: DiskFile | None = None
        self._segment = 0
        self._tail = 0
        self._open: Batch | None = None
        self._waiting: deque[Batch] = deque()
        self._flushing: Batch | None = None
        self._kicked = False
        self._broken = False
        self.applied = Position(0, 0)
        self.sync_latency_s = 0.0
        self.syncs = 0
        self.sync_total_s = 0.0
        self.synced_bytes = 0
        self.free_bytes = 1 << 62

    def start(self, end: Position | None) -> None:
        """Go on behind the last sound record, or with a new first segment. OSError."""
        if end is None:
            self._segment, self._tail = 0, self._segment_bytes
        else:
            self._writing = self._disk.open(self.files.path(end.segment), writable=True)
            self._segment, self._tail = end
        self.applied = Position(self._segment, self._tail)

    # -- appending -----------------------------------------------------------------------------

    def append(self, kind: int, head: bytes, payload: bytes) -> tuple[int, int, int]:
        """Queue a record. Returns its segment, its payload's offset, its payload's checksum."""
        batch = self._open
        if batch is None or not batch.buffers or batch.end - batch.start > BATCH_BYTES_MAX:
            batch = self._batch_to_fill()
        start = batch.end
        segment = batch.segment
        size = len(payload)
        checksum = xxh3_64_intdigest(payload) if size else 0
        first = FRONT.pack(MAGIC, kind, len(head), size, checksum) + head
        buffers = batch.buffers
        buffers.append(first + xxh3_64_digest(first, self._salt ^ (segment << 32 | start)))
        payload_offset = start + len(first) + CHECK_BYTES
        if size:
            buffers.append(payload)
        batch.end = payload_offset + size
        return segment, payload_offset, checksum

    def follow(self, item: Any) -> None:
        """Queue `item` behind all that was appended so far: it is handed back when that is durable."""
        batch = self._open
        if batch is None:
            batch = self._new_batch()
        batch.items.append(item)

    def _new_batch(self) -> Batch:
        batch = self._open = Batch(self._segment, self._tail, opens_segment=False)
        if not self._kicked and self._flushing is None:
            self._kicked = True
            self._call_soon(self._kick)
        return batch

    def _batch_to_fill(self) -> Batch:
        """The open batch with room for its BATCH record reserved, and its segment chosen."""
        if self._open is not None and self._open.buffers:
            self._waiting.append(self._open)
            self._segment, self._tail = self._open.segment, self._open.end
            self._open = None
        batch = self._open or self._new_batch()
        if self._tail >= self._segment_bytes:
            self._segment, self._tail = self._segment + 1, 0
            batch.opens_segment = True
            batch.segment = self._segment
            batch.start = batch.end = SEGMENT_HEADER_BYTES
        batch.buffers.append(b"")
        batch.end = batch.start + BATCH_RECORD_BYTES
        return batch

    @property
    def idle(self) -> bool:
        """True where nothing is queued or being written."""
        return self._open is None and self._flushing is None and not self._waiting

    @property
    def segment(self) -> int:
        """The segment that is written now."""
        return self._segment

    def batches(self) -> list[Batch]:
        """All batches that are not durable yet, in order."""
        some = [self._flushing, *self._waiting, self._open]
        return [batch for batch in some if batch is not None]

    @property
    def backlog(self) -> int:
        """Full batches that wait for their turn."""
        return len(self._waiting)

    @property
    def broken(self) -> bool:
        """True where nothing more is written."""
        return self._broken

    # -- flushing ------------------------------------------------------------------------------

    def _kick(self) -> None:
        self._kicked = False
        while self._flushing is None and not self._broken:
            batch = self._next_batch()
            if batch is None:
                return
            if batch.buffers:
                self._flush(batch)
            else:
                self._owner.batch_durable(batch)

    def _next_batch(self) -> Batch | None:
        if self._waiting:
            return self._waiting.popleft()
        batch, self._open = self._open, None
        if batch is not None and batch.buffers:
            self._segment, self._tail = batch.segment, batch.end
        return batch

    def _flush(self, batch: Batch) -> None:
        self._flushing = batch
        start = Position(batch.segment, batch.start)
        mark = POSITION.pack(*self.applied)
        batch.buffers[0] = encode(Kind.BATCH, mark, 0, 0, self._salt ^ start.seq)
        self._lane.submit(lambda: self._write(batch), self._flushed)

    def _write(self, batch: Batch) -> tuple[float, int]:
        """On the lane. Returns how long it took and the room left; raises what the disk raised."""
        began = self._clock.monotonic()
        if batch.opens_segment:
            self._open_segment(batch.segment)
        file = self._writing
        assert file is not None
        try:
            file.append(batch.buffers)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            file.truncate(batch.start)
            file.sync()  # else a crash could bring back whole records of what is refused now
            raise NoRoomError(str(error)) from error
        file.sync()
        return self._clock.monotonic() - began, self._disk.free_bytes(self._directory)

    def _open_segment(self, number: int) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        self._writing = self.files.create(number, self._incarnation)

    def _flushed(self, outcome: Any) -> None:
        batch = self._flushing
        assert batch is not None
        self._flushing = None
        if isinstance(outcome, Exception):
            self._failed(batch, outcome)
            return
        self.sync_latency_s, self.free_bytes = outcome
        self.syncs += 1
        self.sync_total_s += self.sync_latency_s
        self.synced_bytes += batch.end - batch.start
        self.applied = Position(batch.segment, batch.end)
        self._owner.batch_durable(batch)
        self._kick()

    def _failed(self, batch: Batch, error: Exception) -> None:
        lost = [batch, *self._waiting]
        if self._open is not None:
            lost.append(self._open)
        self._waiting.clear()
        self._open = None
        if isinstance(error, NoRoomError):
            if batch.opens_segment:
                self.files.drop(batch.segment)  # another file will have its name
            self._segment, self._tail = self._before(batch)
            self._owner.batches_refused(lost, error)
        else:
            self._broken = True
            self._owner.journal_broken(lost, error)

    def _before(self, batch: Batch) -> Position:
        """Where to go on after `batch` found no room."""
        if batch.opens_segment:
            return Position(batch.segment - 1, self._segment_bytes)
        return Position(batch.segment, batch.start)

    def close(self) -> None:
        """Close the files. Nothing may be queued."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        self.files.close()
