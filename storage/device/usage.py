"""How much of each journal segment is still needed: what compaction and removal go by."""

import struct
from typing import Final

from storage.device.held import Held, promise_cost, record_cost
from storage.device.index_contract import Index, Table, guard, unguard

USE: Final = struct.Struct("<q")
NUMBER: Final = struct.Struct(">I")


class SegmentUsage:
    """Live bytes by segment number: those of records that the index points to."""

    def __init__(self, index: Index) -> None:
        self.live: dict[int, int] = {}
        for key, guarded in index.scan(Table.SEGMENTS, b"", b""):
            (self.live[NUMBER.unpack(key)[0]],) = USE.unpack(unguard(key, guarded))
        self._touched: set[int] = set()
        self._removed: list[bytes] = []

    def add(self, segment: int, size_bytes: int) -> None:
        """`size_bytes` more (or, negative, less) are live in a segment."""
        self.live[segment] = self.live.get(segment, 0) + size_bytes
        self._touched.add(segment)

    def replace(self, key_bytes: int, old: Held | None, new: Held) -> None:
        """A row's state `new` took the place of `old`."""
        if old is not None:
            if old.segment:
                self.add(old.segment, -record_cost(key_bytes, old))
            if old.promise_segment:
                self.add(old.promise_segment, -promise_cost(key_bytes))
        if new.segment:
            self.add(new.segment, record_cost(key_bytes, new))
        if new.promise_segment:
            self.add(new.promise_segment, promise_cost(key_bytes))

    def take_touched(self) -> list[tuple[bytes, bytes]]:
        """Guarded index items of the segments that changed since the last call."""
        items = []
        for number in sorted(self._touched):
            key = NUMBER.pack(number)
            items.append((key, guard(key, USE.pack(self.live.get(number, 0)))))
        self._touched.clear()
        return items

    def forget(self, segment: int) -> None:
        """A segment was removed."""
        self.live.pop(segment, None)
        self._touched.discard(segment)
        self._removed.append(NUMBER.pack(segment))

    def take_removed(self) -> list[bytes]:
        """Index keys of the segments removed since the last call."""
        removed, self._removed = self._removed, []
        return removed
