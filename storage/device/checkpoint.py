"""Checkpoints: what the journal holds and the index lacks goes into the index, in one synced commit.

Rows are put into LMDB's transaction on the loop, in slices: next to a busy loop a thread would wait a
switch interval for the GIL at each put. The commit, which waits for the disk, runs on a lane.
"""

import errno
import struct
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from storage.device.held import GONE, Held, IndexDamagedError, encode_value
from storage.device.index_contract import (
    FORMAT,
    FORMAT_OLDEST,
    Index,
    IndexFullError,
    IndexWriter,
    Table,
    guard,
    unguard,
)
from storage.device.lane import Lane
from storage.device.overlay import Overlay
from storage.device.record import Position
from storage.device.register import RowTable
from storage.device.shards import Shard
from storage.device.usage import SegmentUsage

SLICE_ROWS: Final = 192
"""Rows put per turn of the loop: about half a millisecond."""

DISCARD_ROWS: Final = 1000
"""Rows freed per turn of the loop after a checkpoint."""

CHECKPOINT_KEY: Final = b"checkpoint"
CHECKPOINT: Final = struct.Struct("<HII")
"""format, journal position up to which the index has everything"""


def read_checkpoint(index: Index) -> tuple[Position | None, int]:
    """The journal position in the index, None in an empty one, and its format. IndexDamagedError."""
    guarded = index.get(Table.META, CHECKPOINT_KEY)
    if guarded is None:
        return None, FORMAT
    version, segment, offset = CHECKPOINT.unpack(unguard(CHECKPOINT_KEY, guarded))
    if not FORMAT_OLDEST <= version <= FORMAT:
        raise IndexDamagedError(f"index format {version}; this program writes format {FORMAT}")
    return Position(segment, offset), version


def put_position(writer: IndexWriter, position: Position) -> None:
    """Say up to where a transaction brings the index, and in which format it is."""
    value = CHECKPOINT.pack(FORMAT, *position)
    writer.put(Table.META, [(CHECKPOINT_KEY, guard(CHECKPOINT_KEY, value))])


class Frozen(NamedTuple):
    """What one checkpoint writes."""

    shards: list[Shard]
    counts: list[tuple[bytes, bytes | None]]
    usage: list[tuple[bytes, bytes]]
    removed: list[bytes]
    live: dict[int, int]
    position: Position


class Checkpointer:
    """Runs one checkpoint at a time.

    on_done(frozen, error): called on the loop when one has ended. With an error the frozen state stays
    where reads find it, and the next `start` tries it again.
    """

    def __init__(
        self,
        index: Index,
        rows: RowTable,
        overlays: list[Overlay],
        usage: SegmentUsage,
        lane: Lane,
        call_soon: Callable[[Callable[[], None]], object],
        on_done: Callable[[Frozen, Exception | None], None],
    ) -> None:
        self._index = index
        self._rows = rows
        self._overlays = overlays
        self._usage = usage
        self._lane = lane
        self._call_soon = call_soon
        self._on_done = on_done
        self._frozen: Frozen | None = None
        self._writer: IndexWriter | None = None
        self._items: Iterator[tuple[bytes, bytes | None]] = iter(())

    @property
    def running(self) -> bool:
        """True between `start` and `on_done`."""
        return self._writer is not None

    @property
    def unfinished(self) -> bool:
        """True where the last checkpoint did not succeed: the next one writes what it should have."""
        return self._frozen is not None and self._writer is None

    def start(self, position: Position) -> None:
        """Begin a checkpoint of all that is applied, which is the journal up to `position`."""
        self._begin(position)
        self._call_soon(self._step)

    def run_now(self, position: Position) -> None:
        """A whole checkpoint at once, blocking; for recovery. Raises what went wrong."""
        while True:
            self._begin(position)
            try:
                self._put_rows(None)
                self._commit()
            except IndexFullError:
                self._drop()
                self._index.grow()
                continue
            self._published()
            return

    def _begin(self, position: Position) -> None:
        assert self._writer is None
        if self._frozen is None:
            self._frozen = self._freeze(position)
        self._items = self._row_items(self._frozen.shards)
        self._writer = self._index.begin()

    def _freeze(self, position: Position) -> Frozen:
        shards = self._rows.freeze()
        for overlay in self._overlays:
            overlay.freeze()
        return Frozen(
            shards,
            [shard.item() for shard in shards],
            self._usage.take_touched(),
            self._usage.take_removed(),
            dict(self._usage.live),
            position,
        )

    @staticmethod
    def _row_items(shards: list[Shard]) -> Iterator[tuple[bytes, bytes | None]]:
        for shard in shards:
            for key, held in shard.frozen_items():
                yield key, None if held is GONE else encode_value(key, held)

    def _put_rows(self, count: int | None) -> bool:
        """Put, or remove, the next `count` rows; False when none is left."""
        assert self._writer is not None
        items = list(islice(self._items, count))
        _put_or_remove(self._writer, Table.ROWS, items)
        return count is not None and len(items) == count

    def _commit(self) -> None:
        """On the lane: the small tables and the position, then the synced commit."""
        writer, frozen = self._writer, self._frozen
        assert writer is not None
        assert frozen is not None
        _put_or_remove(writer, Table.SHARDS, frozen.counts)
        writer.put(Table.SEGMENTS, frozen.usage)
        for key in frozen.removed:
            writer.remove(Table.SEGMENTS, key)
        for overlay in self._overlays:
            kept, gone = overlay.frozen()
            writer.put(overlay.table, kept)
            for key in gone:
                writer.remove(overlay.table, key)
        put_position(writer, frozen.position)
        writer.commit()

    def _step(self) -> None:
        try:
            more = self._put_rows(SLICE_ROWS)
        except (IndexFullError, IndexDamagedError, OSError) as error:
            self._ended(error)
            return
        if more:
            self._call_soon(self._step)
        else:
            self._lane.submit(self._commit, self._ended)

    def _ended(self, outcome: Any) -> None:
        frozen = self._frozen
        assert frozen is not None
        if isinstance(outcome, IndexFullError):
            self._drop()
            self._index.grow()
            self.start(frozen.position)
        elif isinstance(outcome, Exception):
            self._drop()
            self._on_done(frozen, outcome)
        else:
            self._published()
            self._on_done(frozen, None)

    def _drop(self) -> None:
        assert self._writer is not None
        self._writer.abort()
        self._writer = None

    def _published(self) -> None:
        assert self._frozen is not None
        self._index.publish()
        self._discard(self._rows.thaw(self._frozen.shards))
        for overlay in self._overlays:
            overlay.thaw()
        self._frozen = None
        self._writer = None

    def _discard(self, spent: list[dict[bytes, Held]]) -> None:
        """Free rows in slices: to free 16,000 at once holds the loop for 5 ms."""
        left = DISCARD_ROWS
        while spent and left:
            rows = spent[-1]
            while rows and left:
                rows.popitem()
                left -= 1
            if not rows:
                spent.pop()
        if spent:
            self._call_soon(partial(self._discard, spent))


def _put_or_remove(writer: IndexWriter, table: Table, items: list[tuple[bytes, bytes | None]]) -> None:
    """Store pairs; None for a value removes the key."""
    writer.put(table, [(key, value) for key, value in items if value is not None])
    for key, value in items:
        if value is None:
            writer.remove(table, key)


def is_no_room(error: Exception) -> bool:
    """True where a checkpoint may succeed once the disk has room."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
