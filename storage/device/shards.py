"""What a device keeps in memory of a shard: rows not yet in the index, counts, digest, seal."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

from storage.changes import ChangeLog
from storage.device.held import GONE, Held, IndexDamagedError
from storage.device.index_contract import guard, unguard
from storage.digests import row_digest
from storage.types import SEAL_NAME, ZERO_VERSION

ITEM: Final = struct.Struct("<BBQQQQ")
"""format, marks, live counted rows, sum of their sizes, names known, digest"""

ITEM_FORMAT: Final = 2
"""Format 1, of 16 bytes, had live rows and sizes alone: see `upgrade.py`."""

MARK_ERASING: Final = 1
"""What the index has of the shard is void and still to be removed."""

SHARDS_MAX: Final = 16_384
"""Shards kept in memory beyond those with rows that no checkpoint has written yet."""


class Rows:
    """Rows by name, and their order when somebody asks.

    Names are sorted only for range reads: the list is the dictionary's keys, sorted, as long as both
    have the same length, because names are added and never removed. New names come last in the
    dictionary, so sorting again is a merge of two runs.
    """

    __slots__ = ("_order", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[bytes, Held] = {}
        self._order: list[bytes] = []

    def ordered(self) -> list[bytes]:
        """All names in byte order."""
        order = self._order
        if len(order) != len(self.by_name):
            order.extend(islice(self.by_name, len(order), None))
            order.sort()
        return order


class Shard:
    """One shard.

    pending: newest states that are not durable yet; decisions look here first, reads never.
    active, frozen: durable states that the index lacks; frozen ones are on their way into it.
    rows, size_bytes: live counted rows and their sizes. names: rows that anything is known of.
    digest: see storage/types.py; like the counts, of durable states.
    sealed: by the durable seal row; sealing: by the newest one.
    erasing: all rows are being removed; nothing else is done in the shard until they are.
    changes: what changed lately, where somebody asks for that.
    """

    __slots__ = (
        "active",
        "changes",
        "digest",
        "dirty",
        "erasing",
        "frozen",
        "key",
        "names",
        "pending",
        "prefix",
        "rows",
        "sealed",
        "sealing",
        "size_bytes",
    )

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.prefix = shard_prefix(key)
        self.pending: dict[bytes, Held] = {}
        self.active = Rows()
        self.frozen: Rows | None = None
        self.rows = 0
        self.size_bytes = 0
        self.names = 0
        self.digest = 0
        self.sealed = False
        self.sealing = False
        self.erasing = False
        self.dirty = False
        self.changes: ChangeLog | None = None

    def recent(self, name: bytes) -> Held | None:
        """The durable state of a row, if the index does not have it yet."""
        held = self.active.by_name.get(name)
        if held is None and self.frozen is not None:
            return self.frozen.by_name.get(name)
        return held

    def recent_rows(self) -> list[Rows]:
        """Rows newer than the index, the newest first."""
        return [self.active] if self.frozen is None else [self.active, self.frozen]

    def count(self, name: bytes, old: Held | None, new: Held) -> None:
        """Take `new` for `old` in counts and digest; either may be GONE."""
        if old is None or old is GONE:
            self.names += new is not GONE
            before = ZERO_VERSION
        else:
            self.names -= new is GONE
            before = old.state.version
        version = new.state.version
        if version != before:
            if before != ZERO_VERSION:
                self.digest ^= row_digest(name, before)
            if version != ZERO_VERSION:
                self.digest ^= row_digest(name, version)
        if name == SEAL_NAME:
            return
        if old is not None and old.counted:
            self.rows -= 1
            self.size_bytes -= old.size
        if new.counted:
            self.rows += 1
            self.size_bytes += new.size

    def freeze(self) -> None:
        """The active rows go on their way into the index."""
        self.frozen = self.active
        self.active = Rows()
        self.dirty = False

    @property
    def forgettable(self) -> bool:
        """True where memory holds nothing that the index lacks."""
        return not (self.dirty or self.pending or self.frozen or self.erasing)

    def item(self) -> tuple[bytes, bytes | None]:
        """Its item in the index, guarded; None for one of which nothing is known any more."""
        if not self.names and not self.erasing:
            return self.prefix, None
        marks = MARK_ERASING if self.erasing else 0
        value = ITEM.pack(ITEM_FORMAT, marks, self.rows, self.size_bytes, self.names, self.digest)
        return self.prefix, guard(self.prefix, value)

    def restore(self, guarded: bytes) -> None:
        """The inverse of `item`. IndexDamagedError."""
        value = unguard(self.prefix, guarded)
        if len(value) != ITEM.size or value[0] != ITEM_FORMAT:
            raise IndexDamagedError("a shard's item has an unknown format")
        _, marks, self.rows, self.size_bytes, self.names, self.digest = ITEM.unpack(value)
        self.erasing = bool(marks & MARK_ERASING)

    def frozen_items(self) -> Iterator[tuple[bytes, Held]]:
        """The frozen rows as (key, row), in key order."""
        if self.frozen is not None:
            by_name = self.frozen.by_name
            for name in self.frozen.ordered():
                yield self.prefix + name, by_name[name]


def shard_prefix(key: bytes) -> bytes:
    """Before each name of a shard in the index: no shard's prefix begins another's."""
    return bytes([len(key)]) + key


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """The shard's key and the row's name in an index key."""
    end = 1 + key[0]
    return key[1:end], key[end:]
