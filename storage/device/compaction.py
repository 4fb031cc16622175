"""Compaction: what is still live in a mostly dead journal segment is written again at the end.

A record is live while the index points to it. When the moved records are durable nothing points into
the segment any more, and the next checkpoint removes it. So the journal always holds the newest record
of every row, and an index can be rebuilt from it. (Records that took something back, a blob's removal
or a forgotten hint, are not moved: what a rebuild would bring back is an orphan, which the auditor
removes. Erasures of rows are, as long as they are needed: see `erasures.py`.)

It yields: it works in short slices on the loop, a bounded number of bytes at a time, each waited for,
and no faster than its rate.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from runtime.clock import Clock
from runtime.disk import Disk, DiskFile
from storage.device.committed import CommittedBlobs, name_key_of
from storage.device.config import DeviceConfig
from storage.device.erasures import ErasureTable, decode_erasure, encode_erasure
from storage.device.garbage import GarbageTable, Hint
from storage.device.held import Replaced, decode_row_head
from storage.device.items import Call
from storage.device.journal import Journal
from storage.device.lane import Lane, settle
from storage.device.record import (
    GARBAGE,
    SEGMENT_HEADER_BYTES,
    Kind,
    Position,
    Record,
    parse,
    payload_is_sound,
    salt,
)
from storage.device.register import RowTable
from storage.device.shards import split_key
from storage.types import HEAD_MAX_BYTES, ROW_PAYLOAD_MAX_BYTES

SLICE_S: Final = 0.002
"""How long it holds the loop at a time."""

UNSYNCED_BYTES_MAX: Final = 1024 * 1024
"""How much it appends before it waits until that is durable."""

HINTS_AT_ONCE: Final = 500
"""Garbage hints looked at in one turn of the loop."""

WINDOW_BYTES: Final = 1024 * 1024
"""How much of the segment is brought into memory at a time, ahead of the walk."""

ERASURES_SHARE: Final = 1 / 16
"""Where erasures take more than this of all live bytes, the oldest segment is compacted: what it holds
keeps them needed."""

COMPACT_BELOW_FULL: Final = 0.9
"""On a device without room to write, segments with a smaller share of live bytes are compacted."""

REACH_BYTES: Final = ROW_PAYLOAD_MAX_BYTES + HEAD_MAX_BYTES + 8192
"""No record is longer than this."""


def live_ratio(config: DeviceConfig, free_bytes: int) -> float:
    """Segments with a smaller share of live bytes are worth compacting. Pure.

    A full device can't leave half of its room to what is dead, whatever the moving costs.
    """
    return config.compact_below if free_bytes >= config.reserve_bytes else COMPACT_BELOW_FULL


def candidates(
    live: dict[int, int], sizes: dict[int, int], newest: int, live_ratio: float
) -> list[int]:
    """Segments worth compacting, the emptiest first. Pure.

    live, sizes: live bytes and file sizes by segment. newest: the segment being written, never one.
    """
    poor = [
        (live.get(number, 0) / size, number)
        for number, size in sizes.items()
        if number < newest and size > 0 and live.get(number, 0) < live_ratio * size
    ]
    return [number for _, number in sorted(poor)]


@dataclass
class Compacted:
    """What one compaction did. stuck: offset of a record that can't be read, or None."""

    segment: int
    moved_records: int = 0
    moved_bytes: int = 0
    stuck: int | None = None


class Compactor:
    """Moves the live records of one segment at a time. Belongs to the loop's thread."""

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        incarnation: bytes,
        clock: Clock,
        lane: Lane,
        rows: RowTable,
        garbage: GarbageTable,
        blobs: CommittedBlobs,
        erasures: ErasureTable,
        set_aside: Callable[[int, int, bytes], None],
        bytes_per_s: int,
    ) -> None:
        """set_aside(segment, offset, payload): told of a live payload that fails its checksum."""
        self._disk = disk
        self._journal = journal
        self._salt = salt(incarnation)
        self._clock = clock
        self._lane = lane
        self._rows = rows
        self._garbage = garbage
        self._blobs = blobs
        self._erasures = erasures
        self._set_aside = set_aside
        self._bytes_per_s = bytes_per_s
        self._unsynced = 0

    async def compact(self, segment: int) -> Compacted:
        """Move what is live in a sealed segment.

        Raises DeviceFault where the journal takes no more, OSError where the segment can't be read.
        """
        file = self._disk.open(self._journal.files.path(segment))  # its own: a map lives as long
        try:
            view = file.map()
            result = Compacted(segment)
            hints = await self._hints(segment)
            await self._walk(file, view, hints, result)
            await self._durable()
            return result
        finally:
            file.close()

    async def _hints(self, segment: int) -> dict[int, Hint]:
        """The garbage hints whose manifest lies in a segment, by its offset."""
        hints: dict[int, Hint] = {}
        some = self._garbage.after(-1, HINTS_AT_ONCE)
        while some:
            hints |= {hint.manifest.offset: hint for hint in some if hint.manifest.segment == segment}
            await asyncio.sleep(0)
            some = self._garbage.after(some[-1].seq, HINTS_AT_ONCE)
        return hints

    async def _walk(
        self, file: DiskFile, view: memoryview, hints: dict[int, Hint], result: Compacted
    ) -> None:
        seed = self._salt ^ (result.segment << 32)
        offset, window_ends = SEGMENT_HEADER_BYTES, 0
        slice_ends = self._clock.monotonic() + SLICE_S
        while offset < len(view):
            if offset >= window_ends:
                window_ends = offset + WINDOW_BYTES
                await self._load(file, offset, min(len(view), window_ends + REACH_BYTES))
            record = parse(view, offset, seed)
            if record is None:
                result.stuck = offset
                return
            moved = self._move(view, record, hints, result.segment)
            if moved:
                result.moved_records += 1
                result.moved_bytes += moved
                self._unsynced += moved
            offset = record.end
            if self._unsynced >= UNSYNCED_BYTES_MAX:
                await self._durable()
            if self._clock.monotonic() >= slice_ends:
                await asyncio.sleep(0)
                slice_ends = self._clock.monotonic() + SLICE_S

    async def _load(self, file: DiskFile, begin: int, end: int) -> None:
        """Bring a part of the segment into memory: touching what can't be read ends the process."""
        loaded: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._lane.submit(
            lambda: file.load(begin, end - begin), lambda outcome: settle(loaded, outcome)
        )
        if (error := await loaded) is not None:
            raise error

    async def _durable(self) -> None:
        """Wait for what was moved so far, and for the rate."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._journal.follow(Call(lambda: None, done))
        await done
        moved, self._unsynced = self._unsynced, 0
        await asyncio.sleep(moved / self._bytes_per_s)

    # -- one record --------------------------------------------------------------------------------

    def _move(self, view: memoryview, record: Record, hints: dict[int, Hint], segment: int) -> int:
        """Write the record again where it is live. Returns the bytes written."""
        hint = hints.get(record.payload_offset)
        written = 0
        if hint is not None and self._garbage.stays(hint):
            written += self._move_hint(view, record, hint, segment)
        match record.kind:
            case Kind.ROW:
                written += self._move_row(view, record, segment)
            case Kind.PROMISE:
                written += self._move_promise(record, segment)
            case Kind.BLOB:
                written += self._move_blob(record, segment)
            case Kind.ERASED:
                written += self._move_erasure(record, segment)
        return written

    def _payload(self, view: memoryview, record: Record, segment: int) -> bytes | None:
        payload = bytes(view[record.payload_offset : record.end])
        if payload_is_sound(view, record):
            return payload
        self._set_aside(segment, record.payload_offset, payload)
        return None

    def _move_row(self, view: memoryview, record: Record, segment: int) -> int:
        key, name = split_key(decode_row_head(record.head).key)
        shard = self._rows.shard(key)
        held = self._rows.newest(shard, name)
        if held is None or (held.segment, held.offset) != (segment, record.payload_offset):
            return 0
        if shard.erasing:
            return 0  # void already: moved, it would lie behind the erasure
        payload = self._payload(view, record, segment)
        if payload is None:
            return 0
        self._rows.move(shard, name, held, payload)
        return len(record.head) + len(payload)

    def _move_promise(self, record: Record, segment: int) -> int:
        key, name = split_key(decode_row_head(record.head).key)
        shard = self._rows.shard(key)
        held = self._rows.newest(shard, name)
        place = segment, record.payload_offset
        if shard.erasing or held is None:
            return 0
        if (held.promise_segment, held.promise_offset) != place:
            return 0
        self._rows.move_promise(shard, name, held)
        return len(record.head)

    def _move_blob(self, record: Record, segment: int) -> int:
        key = name_key_of(record.head)
        if self._blobs.place(key) != (segment, record.payload_offset):
            return 0
        moved, offset, _ = self._journal.append(Kind.BLOB, record.head, b"")
        self._follow(lambda: self._blobs.move(key, (segment, record.payload_offset), (moved, offset)))
        return len(record.head)

    def _move_erasure(self, record: Record, segment: int) -> int:
        erasure = decode_erasure(record.head)
        old = Position(segment, record.payload_offset)
        origin = erasure.origin(*old)
        if self._erasures.place(origin) != old:
            return 0
        head = encode_erasure(structs.replace(erasure, segment=origin.segment, offset=origin.offset))
        new = Position(*self._journal.append(Kind.ERASED, head, b"")[:2])
        self._follow(lambda: self._erasures.move(origin, old, new, len(head)))
        return len(head)

    def _move_hint(self, view: memoryview, record: Record, hint: Hint, segment: int) -> int:
        payload = self._payload(view, record, segment)
        if payload is None:
            self._follow_forget(hint)
            return 0
        head = GARBAGE.pack(hint.seq, hint.manifest.replaced_ns, hint.version) + hint.key
        place = self._journal.append(Kind.GARBAGE, head, payload)
        manifest = Replaced(hint.manifest.replaced_ns, place[0], place[1], len(payload), place[2])
        self._follow(lambda: self._garbage.move(hint, manifest))
        return len(head) + len(payload)

    def _follow_forget(self, hint: Hint) -> None:
        """A manifest that can't be read is no hint: what it named is an orphan for the auditor."""
        self._follow(lambda: self._garbage.forget([hint.seq]))

    def _follow(self, effect: Callable[[], None]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda future: future.exception())  # `_durable` meets the same error
        self._journal.follow(Call(effect, done))
