"""A device's blobs in the order of their places in the ring, so that a partition's are found at once.

A place is the salted XXH3 of a blob's id; its top bits are the partition, whatever the ring's part
power is at the moment. The index knows blobs by id alone, and the device knows no salt: the order is
made from the index when it is first asked for, in slices of the loop, and kept up to date while it is
asked for: 43 bytes for each blob. Made and used by the engine alone; nothing of it is stored.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from storage.types import BLOB_ID_BYTES, BlobEntry, BlobGroup, BlobName

SLICE_ENTRIES: Final = 256
"""Entries taken from the index per turn of the loop: about a millisecond."""

CHANGES_MAX: Final = 100_000
"""More changes than this between two questions: nobody asks any more, and the order is dropped."""

_ROW = np.dtype(
    [
        ("place", "<u8"),
        ("id", f"V{BLOB_ID_BYTES}"),
        ("number", "<u2"),
        ("policy", "u1"),
        ("size", "<u8"),
    ]
)
_Rows = npt.NDArray[np.void]

ListEntries = Callable[[BlobName | None, int], list[BlobEntry]]
"""Entries of the index after a name, at most so many."""


class _Change(NamedTuple):
    """What became of a blob; size -1: it was removed."""

    policy: str
    size_bytes: int


class BlobPlaces:
    """The order under one salt."""

    def __init__(self, salt: int) -> None:
        self.salt = salt
        self._rows: _Rows = np.zeros(0, _ROW)
        self._policies: list[str] = []
        self._changes: dict[BlobName, _Change] = {}
        self._ended = asyncio.Event()
        self.failed = False
        """It could not be made."""

    @property
    def stale(self) -> bool:
        """True where nobody has asked for long."""
        return len(self._changes) > CHANGES_MAX

    def changed(self, name: BlobName, entry: BlobEntry | None) -> None:
        """A blob was committed, or (None) removed."""
        removed = _Change("", -1)
        self._changes[name] = (
            removed if entry is None else _Change(entry.header.policy, entry.size_bytes)
        )

    async def fill(self, list_entries: ListEntries) -> None:
        """Take all of the index, in slices; what changes meanwhile is told to `changed`."""
        try:
            self._rows = await self._taken(list_entries)
        except BaseException:
            self.failed = True
            raise
        finally:
            self._ended.set()

    async def filled(self) -> bool:
        """Wait until the order is made; False where that failed."""
        await self._ended.wait()
        return not self.failed

    async def _taken(self, list_entries: ListEntries) -> _Rows:
        parts: list[_Rows] = []
        after: BlobName | None = None
        while True:
            entries = list_entries(after, SLICE_ENTRIES)
            parts.append(self._packed((e.header.name, e.header.policy, e.size_bytes) for e in entries))
            if len(entries) < SLICE_ENTRIES:
                break
            after = entries[-1].header.name
            await asyncio.sleep(0)
        return _ordered(np.concatenate(parts))

    def groups(self, power: int, policy: str, first: int, count: int) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        self._apply()
        rows = self._range(power, first, count)
        if policy:
            rows = rows[rows["policy"] == self._code(policy)]
        if not len(rows):
            return []
        partitions = (rows["place"] >> np.uint64(64 - power)).astype(np.int64)
        order = np.lexsort((rows["number"], rows["policy"], partitions))
        rows, partitions = rows[order], partitions[order]
        new = np.ones(len(rows), bool)
        new[1:] = (
            (partitions[1:] != partitions[:-1])
            | (rows["policy"][1:] != rows["policy"][:-1])
            | (rows["number"][1:] != rows["number"][:-1])
        )
        starts = np.flatnonzero(new)
        digests = np.bitwise_xor.reduceat(rows["place"], starts)
        sizes = np.add.reduceat(rows["size"], starts)
        counts = np.diff(np.append(starts, len(rows)))
        return [
            BlobGroup(
                self._policies[rows["policy"][at]],
                int(partitions[at]),
                int(rows["number"][at]),
                int(blobs),
                int(size_bytes),
                int(digest),
            )
            for at, blobs, size_bytes, digest in zip(starts, counts, sizes, digests, strict=True)
        ]

    def names(
        self, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobName]:
        """See DeviceClient.list_group."""
        self._apply()
        rows = self._range(power, partition, 1)
        rows = rows[(rows["policy"] == self._code(policy)) & (rows["number"] == number)]
        ids = sorted(found for row in rows["id"] if (found := row.tobytes()) > after)
        return [BlobName(found, number) for found in ids[: max(0, limit)]]

    def _range(self, power: int, first: int, count: int) -> _Rows:
        shift = 64 - power
        low = np.searchsorted(self._rows["place"], np.uint64(first << shift))
        end = (first + count) << shift
        high = len(self._rows)
        if end < 1 << 64:
            high = int(np.searchsorted(self._rows["place"], np.uint64(end)))
        return self._rows[low:high]

    def _code(self, policy: str) -> int:
        """A policy's number here."""
        if policy not in self._policies:
            self._policies.append(policy)
        return self._policies.index(policy)

    def _packed(self, blobs: Iterable[tuple[BlobName, str, int]]) -> _Rows:
        return np.array(
            [
                (xxh3_64_intdigest(name.id, self.salt), name.id, name.number, self._code(policy), size)
                for name, policy, size in blobs
            ],
            _ROW,
        )

    def _apply(self) -> None:
        """Take in what has changed since the last question."""
        if not self._changes:
            return
        changes, self._changes = self._changes, {}
        kept = np.ones(len(self._rows), bool)
        for name in changes:
            at = self._find(name)
            if at is not None:
                kept[at] = False
        there = ((name, policy, size) for name, (policy, size) in changes.items() if size >= 0)
        self._rows = _ordered(np.concatenate([self._rows[kept], self._packed(there)]))

    def _find(self, name: BlobName) -> int | None:
        place = np.uint64(xxh3_64_intdigest(name.id, self.salt))
        at = int(np.searchsorted(self._rows["place"], place))
        while at < len(self._rows) and self._rows["place"][at] == place:
            row = self._rows[at]
            if row["number"] == name.number and row["id"].tobytes() == name.id:
                return at
            at += 1
        return None


def _ordered(rows: _Rows) -> _Rows:
    return rows[np.argsort(rows["place"], kind="stable")]
