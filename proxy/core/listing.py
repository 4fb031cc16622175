"""Listings: a range read of the very rows that the listed things are, merged over shards.

A page of one shard comes from one replica, and the others of a majority confirm it by a digest over
names and versions; only where they differ are rows compared, and each differing one is read by the
row protocol. So a listing sees every write acknowledged before it began.
"""

import asyncio
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar

from proxy.core.errors import Unavailable
from proxy.core.rows import Rows
from proxy.core.types import ListQuery
from storage.contract import DeviceClient
from storage.types import (
    SCAN_ROWS_MAX,
    Failed,
    Page,
    RowAnswer,
    RowFlag,
    Scan,
    ScannedRow,
    Want,
)

SCAN_ATTEMPTS: Final = 4

T = TypeVar("T")


class ShardPage(NamedTuple):
    """Live rows of one shard in [start, covered_to); covered_to b"" where the range is exhausted."""

    rows: list[ScannedRow]
    covered_to: bytes
    sealed: bool


def after(name: bytes) -> bytes:
    """The smallest name above `name`."""
    return name + b"\0"


def past_prefix(prefix: bytes) -> bytes:
    """The smallest name above all that begin with `prefix`; b"" where there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""


def _live(row: ScannedRow) -> bool:
    return not row.flags & RowFlag.TOMBSTONE


class ShardScan:
    """Consistent pages of single shards."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def page(self, scan: Scan, *, confirm: bool = True) -> ShardPage:
        """One page. confirm False: where replicas differ the highest version counts unconfirmed, which
        is right for a sealed shard, where nothing can be written any more. Raises Unavailable.
        """
        replicas = self._rows.replicas(scan.shard)
        members = [replicas.devices[number] for number in replicas.quorum.order]
        need = len(members) // 2 + 1
        for _ in range(SCAN_ATTEMPTS):
            pages = await self._ask_majority(members, need, scan)
            first = pages[0][1]
            sealed = any(page.sealed for _, page in pages)
            if all(page.digest == first.digest for _, page in pages):
                rows = [row for row in first.rows if not row.flags & RowFlag.TOMBSTONE]
                return ShardPage(rows, first.covered_to, sealed)
            merged = await self._reconcile(pages, scan, confirm=confirm)
            if merged is not None:
                return merged
        raise Unavailable("the replicas of a listing did not settle")

    async def _ask_majority(
        self, members: list[DeviceClient], need: int, scan: Scan
    ) -> list[tuple[DeviceClient, Page]]:
        """Pages of a majority: the first in full, the others' digests. Failing members are replaced."""
        digest = Scan(scan.shard, scan.start, scan.end, scan.limit, True, scan.prefix)
        asked = [scan, *[digest] * (need - 1)]
        answers: list[tuple[DeviceClient, RowAnswer]] = list(
            zip(
                members,
                await asyncio.gather(*map(self._rows.ask, members, asked)),
                strict=False,
            )
        )
        good = [(device, page) for device, page in answers if type(page) is Page]
        for device in members[need:]:
            if len(good) >= need:
                break
            message = digest if good and good[0][0] is members[0] else scan
            answer = await self._rows.ask(device, message)
            if type(answer) is Page:
                good.append((device, answer))
            else:
                answers.append((device, answer))
        if len(good) < need:
            said = ", ".join(a.text or str(a.fault) for _, a in answers if type(a) is Failed)
            raise Unavailable(f"no majority of a listing's replicas: {said}")
        return await self._first_in_full(good, members[0], scan)

    async def _first_in_full(
        self, good: list[tuple[DeviceClient, Page]], planned: DeviceClient, scan: Scan
    ) -> list[tuple[DeviceClient, Page]]:
        if good[0][0] is planned:
            return good
        answer = await self._rows.ask(good[0][0], scan)
        if type(answer) is not Page:
            raise Unavailable("a listing's replica went away")
        return [(good[0][0], answer), *good[1:]]

    async def _reconcile(
        self, pages: list[tuple[DeviceClient, Page]], scan: Scan, *, confirm: bool
    ) -> ShardPage | None:
        """Compare full pages over what all of them cover; None to begin again."""
        first = pages[0][1]
        end = first.covered_to or scan.end
        wide = Scan(scan.shard, scan.start, end, SCAN_ROWS_MAX, False, scan.prefix)
        others = await asyncio.gather(*(self._rows.ask(device, wide) for device, _ in pages[1:]))
        full = [first, *(page for page in others if type(page) is Page)]
        if len(full) < len(pages):
            return None
        covered = min((page.covered_to for page in full if page.covered_to), default=b"")
        held: dict[bytes, list[ScannedRow]] = {}
        for page in full:
            for row in page.rows:
                if not covered or row.name < covered:
                    held.setdefault(row.name, []).append(row)
        rows = []
        for name in sorted(held):
            settled = await self._settle(scan.shard, held[name], len(full), confirm=confirm)
            if settled is not None:
                rows.append(settled)
        return ShardPage(rows, covered, any(page.sealed for page in full))

    async def _settle(
        self, shard: bytes, held: list[ScannedRow], replicas: int, *, confirm: bool
    ) -> ScannedRow | None:
        """What stands in place of a row of which replicas may hold different versions."""
        best = max(held, key=lambda row: row.version)
        agreed = len(held) == replicas and all(row.version == best.version for row in held)
        if agreed or not confirm:
            return best if _live(best) else None
        row = await self._rows.read(shard, best.name, Want.HEAD)
        if not row.live:
            return None
        return ScannedRow(best.name, row.version, row.value.flags, row.value.size, row.value.head)


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
    """The names a query can see, markers excluded."""
    prefix = query.prefix.encode()
    low, high = query.marker.encode(), query.end_marker.encode()
    if query.reverse:
        low, high = high, low
    start = max(prefix, after(low) if low else b"")
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

    def __init__(self, scan: ShardScan, shards: list[bytes], limits: Bounds, wanted: int) -> None:
        self._scan = scan
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
            await asyncio.gather(*(self._fill(b) for b in self._buffers if b.more and not b.rows))
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
        self.sealed = self.sealed or page.sealed
        buffer.rows = page.rows
        buffer.more = page.covered_to != b""
        buffer.at = page.covered_to


class Listed(NamedTuple, Generic[T]):
    """A page: entries in listing order (a str is a common prefix).

    next_marker: the last entry's name where another entry follows, else "". sealed: a shard was.
    """

    entries: list[T | str]
    next_marker: str
    sealed: bool


class _Roll:
    """Rolls names up into common prefixes."""

    def __init__(self, query: ListQuery) -> None:
        self._from = len(query.prefix.encode())
        self._delimiter = query.delimiter.encode()
        self._low = (query.end_marker if query.reverse else query.marker).encode()
        self.floor = b""  # names below it are under a prefix that was listed, or left out
        self.ended = False

    def common_prefix(self, name: bytes) -> bytes | None:
        """The prefix that `name` is listed under, b"" where that is left out, None for itself."""
        if not self._delimiter:
            return None
        cut = name.find(self._delimiter, self._from)
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
) -> None:
    """Hand (name, entry) to `take` in order until it has enough (returns True)."""
    roll = _Roll(query)
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
) -> Listed[T]:
    """One page of what lives in `shards`.

    decode: makes an entry of a row, None to leave it out. A common prefix counts as one entry, and
    what is under it is skipped, not read. A reversed page reads its range forward and keeps the tail:
    the work is that of the whole range, the memory that of one page.
    """
    limits = bounds(query)
    if query.limit <= 0 or limits.empty:
        return Listed([], "", False)
    merged = MergedScan(scan, shards, limits, query.limit + 1)
    names: list[bytes] | deque[bytes]
    entries: list[T | str] | deque[T | str]
    names, entries = [], []
    if query.reverse:
        names, entries = deque(maxlen=query.limit + 1), deque(maxlen=query.limit + 1)

    def take(name: bytes, entry: T | str) -> bool:
        names.append(name)
        entries.append(entry)
        return not query.reverse and len(names) > query.limit

    await _walk(merged, query, decode, take)
    ordered, found = list(names), list(entries)
    if query.reverse:
        ordered.reverse()
        found.reverse()
    more = len(found) > query.limit
    marker = ordered[query.limit - 1].decode() if more else ""
    return Listed(found[: query.limit], marker, merged.sealed)
