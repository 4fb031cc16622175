"""Erasures: records which say that older records of some rows, or of a whole shard, are void.

A row's newest record is always in the journal, so an index can be rebuilt from it. Where a row was
reclaimed, or its shard dropped, the newest thing to know is that there is nothing: that is an erasure,
and it must be found as long as a segment is left that older records of the row may lie in. Until then
compaction moves it like a live record, with the place of its first writing: what was written of the row
after that place is a new life, wherever the erasure lies by then.
"""

import struct
from typing import Final

import msgspec

from storage.device.index_contract import Index, Table
from storage.device.overlay import Overlay
from storage.device.record import MIN_RECORD_BYTES, Position
from storage.device.usage import SegmentUsage

ORIGIN: Final = struct.Struct(">II")
PLACE: Final = struct.Struct("<III")
"""the record's segment, its end's offset, length of its head"""


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """The head of an ERASED record.

    names: the rows, or None for the whole shard. segment, offset: where it was first written; 0, 0 in
    that first record itself, which can't know.
    """

    shard: bytes
    names: list[bytes] | None
    segment: int = 0
    offset: int = 0

    def origin(self, segment: int, offset: int) -> Position:
        """Where it was first written, given where this record lies."""
        return Position(self.segment, self.offset) if self.segment else Position(segment, offset)


encode_erasure: Final = msgspec.msgpack.Encoder().encode
decode_erasure: Final = msgspec.msgpack.Decoder(Erasure).decode


class ErasureTable:
    """Erasures that are still needed, by their origin."""

    def __init__(self, index: Index, usage: SegmentUsage) -> None:
        self.overlay = Overlay(Table.ERASURES, index)
        self._usage = usage
        self.size_bytes = sum(_cost(value) for _, value in self.overlay.items(b""))
        """What they take in the journal."""

    def add(self, origin: Position, segment: int, offset: int, head_bytes: int) -> None:
        """An erasure's record is durable: its first one, or one that compaction moved."""
        key, value = ORIGIN.pack(*origin), PLACE.pack(segment, offset, head_bytes)
        self._release(key)
        self._account(value, 1)
        self.overlay.put(key, value)

    def move(self, origin: Position, old: Position, new: Position, head_bytes: int) -> None:
        """A copy of an erasure is durable: it takes the old one's place if that still counts."""
        if self.place(origin) == old:
            self.add(origin, *new, head_bytes)

    def place(self, origin: Position) -> Position | None:
        """Where an erasure's record lies, None where it is not needed any more."""
        value = self.overlay.get(ORIGIN.pack(*origin))
        return None if value is None else Position(*PLACE.unpack(value)[:2])

    def needless(self, oldest: int) -> list[bytes]:
        """Keys of those that have nothing to erase where no segment below `oldest` is left.

        One in the oldest segment itself, where it was first written, goes with it.
        """
        keys = []
        for key, value in self.overlay.items(b""):
            first, now = ORIGIN.unpack(key)[0], PLACE.unpack(value)[0]
            if first > oldest or (first == oldest and now != first):
                break
            keys.append(key)
        return keys

    def retire(self, oldest: int) -> None:
        """No segment below `oldest` is left, on disk either: drop what is needless."""
        for key in self.needless(oldest):
            self._release(key)
            self.overlay.put(key, None)

    def _release(self, key: bytes) -> None:
        value = self.overlay.get(key)
        if value is not None:
            self._account(value, -1)

    def _account(self, value: bytes, sign: int) -> None:
        cost = sign * _cost(value)
        self._usage.add(PLACE.unpack(value)[0], cost)
        self.size_bytes += cost


def _cost(value: bytes) -> int:
    return MIN_RECORD_BYTES + int(PLACE.unpack(value)[2])
