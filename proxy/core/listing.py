"""Listings: a range read of the very rows that the listed things are, merged over shards.

The pages of single shards are `shard_scan.py`; here they become one order, with names rolled up into
common prefixes.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from proxy.core.shard_scan import ShardScan
from proxy.core.types import ListQuery
from runtime.tasks import together
from storage.types import NAME_MAX_BYTES, SCAN_ROWS_MAX, Scan, ScannedRow

T = TypeVar("T")

Successors = Callable[[bytes], Awaitable[list[bytes]]]
"""The shards that hold now what was in a sealed shard: itself, while it has not moved on."""


def after(name: bytes) -> bytes:
    """The smallest name above `name`."""
    return name + b"\0"


def past_prefix(prefix: bytes) -> bytes:
    """The smallest name above all that begin with `prefix`; b"" where there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""


class Bounds(NamedTuple):
    """A query's range of names: [start, end), end b"" for none, all with `prefix`."""

    start: bytes
    end: bytes
    prefix: bytes

    @property
    def empty(self) -> bool:
        """No name can be in it."""
        return bool(self.end) and self.start >= self.end


def bounds(query: ListQuery) -> Bounds:
    """The names a query can see, markers excluded. What is longer than any name is cut, because
    replicas refuse it; the names on either side of it stay the same."""
    prefix = query.prefix.encode()
    low, high = query.marker.encode(), query.end_marker.encode()
    if query.reverse:
        low, high = high, low
    if len(prefix) > NAME_MAX_BYTES:
        return Bounds(prefix, prefix, prefix)
    if len(high) > NAME_MAX_BYTES:
        high = after(high[:NAME_MAX_BYTES])
    start = max(prefix, after(low[:NAME_MAX_BYTES]) if low else b"")
    ends = [end for end in (past_prefix(prefix), high) if end]
    return Bounds(start, min(ends, default=b""), prefix)


class _ShardBuffer:
    """What has been read of one shard and not yet been taken."""

    __slots__ = ("at", "more", "rows", "shard")

    def __init__(self, shard: bytes, start: bytes) -> None:
        self.shard = shard
        self.at = start  # all names below it are in `rows` or were taken
        self.more = True
        self.rows: list[ScannedRow] = []

    def take_below(self, frontier: bytes) -> list[ScannedRow]:
        """Remove and return the rows with names below `frontier`; b"" for all."""
        if not frontier or not self.rows or self.rows[-1].name < frontier:
            taken, self.rows = self.rows, []
            return taken
        cut = bisect_left(self.rows, frontier, key=_name)
        taken, self.rows = self.rows[:cut], self.rows[cut:]
        return taken


_name = attrgetter("name")


class MergedScan:
    """The live rows of several shards as one sorted sequence, in batches."""

    def __init__(
        self,
        scan: ShardScan,
        shards: list[bytes],
        limits: Bounds,
        wanted: int,
        successors: Successors | None = None,
    ) -> None:
        self._scan = scan
        self._successors = successors
        self._limits = limits
        share = wanted / len(shards)
        spread = 0 if len(shards) == 1 else math.ceil(4 * math.sqrt(share)) + 2
        self._page_rows = min(SCAN_ROWS_MAX, math.ceil(share) + spread)
        self._buffers = [_ShardBuffer(shard, limits.start) for shard in shards]
        self.sealed = False

    async def batch(self) -> list[ScannedRow]:
        """The next rows, in order; none at the end."""
        taken: list[ScannedRow] = []
        while not taken and any(b.more or b.rows for b in self._buffers):
            await together(self._fill(b) for b in self._buffers if b.more and not b.rows)
            frontier = min((b.at for b in self._buffers if b.more), default=b"")
            for buffer in self._buffers:
                taken += buffer.take_below(frontier)
        taken.sort(key=_name)
        return taken

    def skip_to(self, name: bytes) -> None:
        """Go on at the first name not below `name`."""
        for buffer in self._buffers:
            buffer.take_below(name)
            buffer.at = max(buffer.at, name) if buffer.more else buffer.at

    def stop(self) -> None:
        """There is nothing more to see."""
        for buffer in self._buffers:
            buffer.rows, buffer.more = [], False

    async def _fill(self, buffer: _ShardBuffer) -> None:
        limits = self._limits
        if limits.end and buffer.at >= limits.end:
            buffer.more = False
            return
        page = await self._scan.page(
            Scan(buffer.shard, buffer.at, limits.end, self._page_rows, False, limits.prefix)
        )
        if page.sealed and await self._moved_on(buffer):
            return
        self.sealed = self.sealed or page.sealed
        buffer.rows = page.rows
        buffer.more = page.covered_to != b""
        buffer.at = page.covered_to

    async def _moved_on(self, buffer: _ShardBuffer) -> bool:
        """Whether the rows of a sealed shard are elsewhere by now: then go on there, where it was.

        What was taken of it before was read before they moved. The successors are filled, too: nothing
        may be taken of others while what stands before it has not been read.
        """
        if self._successors is None:
            return False
        shards = await self._successors(buffer.shard)
        if shards == [buffer.shard]:
            return False
        at = self._buffers.index(buffer)
        instead = [_ShardBuffer(shard, buffer.at) for shard in shards]
        self._buffers[at : at + 1] = instead
        await together(map(self._fill, instead))
        return True


class Listed(NamedTuple, Generic[T]):
    """A page: entries in listing order (a str is a common prefix).

    next_marker: the last entry's name where another entry follows, else "". sealed: a shard was.
    """

    entries: list[T | str]
    next_marker: str
    sealed: bool


class _Roll:
    """Rolls names up into common prefixes. before: only what stands before it is rolled up."""

    def __init__(self, query: ListQuery, before: bytes) -> None:
        self._from = len(query.prefix.encode())
        self._before = before
        self._delimiter = query.delimiter.encode()
        self._low = (query.end_marker if query.reverse else query.marker).encode()
        self.floor = b""  # names below it are under a prefix that was listed, or left out
        self.ended = False

    def common_prefix(self, name: bytes) -> bytes | None:
        """The prefix that `name` is listed under, b"" where that is left out, None for itself."""
        if not self._delimiter:
            return None
        end = name.find(self._before) if self._before else len(name)
        cut = name.find(self._delimiter, self._from, end)
        if cut < 0:
            return None
        prefix = name[: cut + len(self._delimiter)]
        self.floor = past_prefix(prefix)
        self.ended = not self.floor
        return prefix if prefix > self._low else b""


async def _walk(
    merged: MergedScan,
    query: ListQuery,
    decode: Callable[[ScannedRow], T | None],
    take: Callable[[bytes, T | str], bool],
    rolled_before: bytes,
) -> None:
    """Hand (name, entry) to `take` in order until it has enough (returns True)."""
    roll = _Roll(query, rolled_before)
    while not roll.ended and (rows := await merged.batch()):
        for row in rows:
            if row.name < roll.floor:
                continue
            entry = decode(row)
            if entry is None:
                continue
            prefix = roll.common_prefix(row.name)
            if prefix is None:
                enough = take(row.name, entry)
            else:
                enough = prefix != b"" and take(prefix, prefix.decode())
            if enough:
                return
        if roll.floor:
            merged.skip_to(roll.floor)


async def list_rows(
    scan: ShardScan,
    shards: list[bytes],
    query: ListQuery,
    decode: Callable[[ScannedRow], T | None],
    *,
    rolled_before: bytes = b"",
    successors: Successors | None = None,
) -> Listed[T]:
    """One page of what lives in `shards`.

    decode: makes an entry of a row, None to leave it out. rolled_before: a mark in the names, behind
    which no delimiter is looked for. successors: asked where the rows of a sealed shard are now.
    A common prefix counts as one entry, and
    what is under it is skipped, not read. A reversed page reads its range forward and keeps the tail:
    the work is that of the whole range, the memory that of one page.
    """
    limits = bounds(query)
    if query.limit <= 0 or limits.empty:
        return Listed([], "", False)
    merged = MergedScan(scan, shards, limits, query.limit + 1, successors)
    names: list[bytes] | deque[bytes]
    entries: list[T | str] | deque[T | str]
    names, entries = [], []
    if query.reverse:
        names, entries = deque(maxlen=query.limit + 1), deque(maxlen=query.limit + 1)

    def take(name: bytes, entry: T | str) -> bool:
        names.append(name)
        entries.append(entry)
        return not query.reverse and len(names) > query.limit

    await _walk(merged, query, decode, take, rolled_before)
    ordered, found = list(names), list(entries)
    if query.reverse:
        ordered.reverse()
        found.reverse()
    more = len(found) > query.limit
    marker = ordered[query.limit - 1].decode() if more else ""
    return Listed(found[: query.limit], marker, merged.sealed)
