"""All shards of a device in the order of their places, with counts and digests: what other replicas
ask for to find out in which partitions they differ.

Numbers are arrays by slot, so that 100,000 shards take a few megabytes and are summed up in a
millisecond. Rows change them at checkpoints and when somebody asks, never on a write's way.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from storage.device.shards import Shard
from storage.digests import place_of, place_range
from storage.types import PartitionSummary

_DIGEST, _NAMES, _LIVE, _SIZE = range(4)

SLOTS_FIRST: Final = 64


class ShardCatalog:
    """Shards by place, for one salt at a time."""

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._free: list[int] = []
        self._numbers: Any = np.zeros((SLOTS_FIRST, 4), np.uint64)
        self._salt: int | None = None
        self._places: Any = np.zeros(0, np.uint64)
        self._order: Any = np.zeros(0, np.int64)
        self._new: list[int] = []
        self._gone: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    # -- what the shards hold --------------------------------------------------------------------

    def note(self, shard: Shard) -> None:
        """Take over a shard's numbers; one of which nothing is known is left out."""
        slot = self._slots.get(shard.key)
        if shard.names:
            slot = self._take_slot(shard.key) if slot is None else slot
            self._numbers[slot] = shard.digest, shard.names, shard.rows, shard.size_bytes
        elif slot is not None:
            del self._slots[shard.key]
            if self._salt is None:
                self._release([slot])
            else:
                self._gone.append(slot)

    def _take_slot(self, key: bytes) -> int:
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
        else:
            slot = len(self._keys)
            self._keys.append(key)
            if slot == len(self._numbers):
                self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)])
        self._slots[key] = slot
        if self._salt is not None:
            self._new.append(slot)
        return slot

    # -- in order --------------------------------------------------------------------------------

    def summaries(self, salt: int, power: int, first: int, count: int) -> list[PartitionSummary]:
        """The partitions [first, first + count) of 2^power that hold anything."""
        low, high = self._range(salt, power, first, count)
        if low == high:
            return []
        partitions = self._places[low:high] >> np.uint64(64 - power) if power else np.zeros(high - low)
        starts = np.flatnonzero(np.diff(partitions, prepend=partitions[:1] + 1))
        numbers = self._numbers[self._order[low:high]]
        digests = np.bitwise_xor.reduceat(numbers[:, _DIGEST], starts)
        sums = (np.add.reduceat(numbers[:, column], starts) for column in (_NAMES, _LIVE, _SIZE))
        columns = [partitions[starts].astype(np.int64), digests, *sums]
        return [PartitionSummary(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def keys(self, salt: int, power: int, partition: int) -> list[bytes]:
        """The shards of a partition, in byte order of their keys."""
        low, high = self._range(salt, power, partition, 1)
        return sorted(self._keys[slot] for slot in self._order[low:high].tolist())

    def _range(self, salt: int, power: int, first: int, count: int) -> tuple[int, int]:
        self._sort(salt)
        return self._rank(place_range(power, first, count))

    def _rank(self, places: tuple[int, int]) -> tuple[int, int]:
        """Where places stand in the order; one past the last place is the end."""
        low, high = (
            len(self._places) if place >> 64 else int(np.searchsorted(self._places, np.uint64(place)))
            for place in places
        )
        return low, high

    def _sort(self, salt: int) -> None:
        """Bring the order up to date: sort what is new into what is there."""
        if salt != self._salt:
            self._salt = salt
            self._places, self._order = np.zeros(0, np.uint64), np.zeros(0, np.int64)
            self._release(self._gone)
            self._new, self._gone = list(self._slots.values()), []
        if self._gone:
            kept = ~np.isin(self._order, self._gone)
            self._places, self._order = self._places[kept], self._order[kept]
            gone = set(self._gone)
            self._new = [slot for slot in self._new if slot not in gone]
            self._release(self._gone)
            self._gone = []
        if self._new:
            places = np.array([place_of(self._keys[slot], salt) for slot in self._new], np.uint64)
            order = np.argsort(places, kind="stable")
            places, slots = places[order], np.array(self._new, np.int64)[order]
            at = np.searchsorted(self._places, places)
            self._places = np.insert(self._places, at, places)
            self._order = np.insert(self._order, at, slots)
            self._new = []

    def _release(self, slots: Iterable[int]) -> None:
        """Slots that nothing refers to any more may be taken again."""
        for slot in slots:
            self._keys[slot] = b""
            self._free.append(slot)
