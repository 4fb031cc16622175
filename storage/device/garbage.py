"""Garbage hints: which manifest a row version left behind when it was replaced.

A hint points at the replaced payload in the journal instead of copying it, and keeps it live there.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from storage.device.held import RECORD_COST_BYTES, Replaced
from storage.device.index_contract import Index, Table
from storage.device.overlay import Overlay
from storage.device.usage import SegmentUsage
from storage.types import VERSION_BYTES

SEQ: Final = struct.Struct(">Q")
HINT: Final = struct.Struct("<QIIIQ32s")
"""replaced at (ns), the manifest's segment, offset, length, checksum, replaced version; then the key"""


class Hint(NamedTuple):
    """A garbage entry whose manifest has not been read. key: shard prefix and name."""

    seq: int
    key: bytes
    version: bytes
    manifest: Replaced


def decode_hint(key: bytes, value: bytes) -> Hint:
    """A hint from its table item."""
    *manifest, version = HINT.unpack_from(value)
    assert len(version) == VERSION_BYTES
    return Hint(SEQ.unpack(key)[0], value[HINT.size :], version, Replaced(*manifest))


class GarbageTable:
    """The device's garbage hints by seq."""

    def __init__(self, index: Index, usage: SegmentUsage) -> None:
        self.overlay = Overlay(Table.GARBAGE, index)
        self._usage = usage
        self._leaving: set[int] = set()

    def add(self, seq: int, key: bytes, version: bytes, manifest: Replaced) -> None:
        """A durable record replaced a manifest, or moved one."""
        self._release(SEQ.pack(seq))
        self._usage.add(manifest.segment, RECORD_COST_BYTES + manifest.length)
        self.overlay.put(SEQ.pack(seq), HINT.pack(*manifest, version) + key)

    def move(self, hint: Hint, manifest: Replaced) -> None:
        """A copy of a manifest is durable: the hint points there, if it still is one."""
        if self.overlay.get(SEQ.pack(hint.seq)) is not None:
            self.add(hint.seq, hint.key, hint.version, manifest)

    def leave(self, seqs: list[int]) -> None:
        """A FORGOTTEN record is on its way."""
        self._leaving.update(seqs)

    def stay(self, seqs: list[int]) -> None:
        """It was not written."""
        self._leaving.difference_update(seqs)

    def stays(self, hint: Hint) -> bool:
        """True for a hint that is there, unmoved, and not on its way out.

        Of another one no copy must be made: the next start would bring it back.
        """
        return hint.seq not in self._leaving and self.get(hint.seq) == hint

    def forget(self, seqs: list[int]) -> None:
        """Hints were dealt with, durably."""
        self._leaving.difference_update(seqs)
        for seq in seqs:
            if self._release(SEQ.pack(seq)):
                self.overlay.put(SEQ.pack(seq), None)

    def forget_lost(self, segments: set[int]) -> None:
        """Forget hints whose manifest lies in none of these segments."""
        if any(live > 0 and number not in segments for number, live in self._usage.live.items()):
            self.forget([hint.seq for hint in self.all() if hint.manifest.segment not in segments])

    def _release(self, key: bytes) -> bool:
        value = self.overlay.get(key)
        if value is None:
            return False
        manifest = decode_hint(key, value).manifest
        self._usage.add(manifest.segment, -(RECORD_COST_BYTES + manifest.length))
        return True

    def get(self, seq: int) -> Hint | None:
        """One hint."""
        value = self.overlay.get(SEQ.pack(seq))
        return None if value is None else decode_hint(SEQ.pack(seq), value)

    def after(self, seq: int, limit: int) -> list[Hint]:
        """At most `limit` hints behind `seq`, in order."""
        return [decode_hint(*item) for item in self.overlay.first(SEQ.pack(max(seq, -1) + 1), limit)]

    def all(self) -> Iterator[Hint]:
        """All hints, in order."""
        return (decode_hint(*item) for item in self.overlay.items(b""))
