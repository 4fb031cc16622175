"""Range reads: merges the index with the rows that it lacks into a page.

The page is cut and digested exactly as `storage/paging.py` says (a property test holds both against
each other), in one loop over raw index values: a listing costs what this loop costs per row.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Final

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from storage.device.held import VALUE, Held, IndexDamagedError
from storage.device.shards import Rows, Shard
from storage.paging import LENGTH_BYTES, PAGE_MAX_BYTES, first_name
from storage.types import (
    NAME_MAX_BYTES,
    SCAN_ROWS_MAX,
    SEAL_NAME,
    VERSION_BYTES,
    ZERO_VERSION,
    Page,
    RowFlag,
    Scan,
    ScannedRow,
)

_LENGTHS: Final = [n.to_bytes(LENGTH_BYTES, "little") for n in range(NAME_MAX_BYTES + 1)]


def prefix_end(prefix: bytes) -> bytes:
    """The smallest string above all that begin with `prefix`; empty where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b""


def name_range(scan: Scan) -> tuple[bytes, bytes]:
    """The names asked for as [start, end); end empty for no bound. The seal row's name is left out."""
    start, end = first_name(scan) or SEAL_NAME + b"\0", scan.end
    if scan.prefix and (above := prefix_end(scan.prefix)):
        end = min(end, above) if end else above
    return start, end


def recent_rows(shard: Shard, start: bytes, end: bytes) -> Iterator[tuple[bytes, Held]]:
    """Rows of [start, end) that the index lacks, in order, each name's newest durable state."""
    names = [_slice(rows.ordered(), start, end) for rows in shard.recent_rows()]
    if len(names) == 1 or not names[1]:
        return _with_rows(names[0], shard.active)
    if not names[0]:
        assert shard.frozen is not None
        return _with_rows(names[1], shard.frozen)
    return _newest(shard, merge(*names))


def _slice(order: list[bytes], start: bytes, end: bytes) -> list[bytes]:
    low = bisect_left(order, start)
    return order[low : bisect_left(order, end, low) if end else len(order)]


def _with_rows(names: list[bytes], rows: Rows) -> Iterator[tuple[bytes, Held]]:
    by_name = rows.by_name
    return ((name, by_name[name]) for name in names)


def _newest(shard: Shard, names: Iterable[bytes]) -> Iterator[tuple[bytes, Held]]:
    last = SEAL_NAME
    for name in names:
        if name != last:
            last = name
            held = shard.recent(name)
            assert held is not None
            yield name, held


Found = tuple[bytes, bytes, int, int, bytes]
"""name, version, flags, size, head"""


def indexed_rows(prefix_bytes: int, items: Iterable[tuple[bytes, bytes]]) -> Iterator[Found]:
    """Rows of raw index items, verified; IndexDamagedError."""
    unpack, digest, least = VALUE.unpack_from, xxh3_64_digest, VALUE.size
    for key, value in items:
        if len(value) < least or digest(key + value[8:]) != value[:8]:
            raise IndexDamagedError("a row's value does not match its checksum")
        _, version, _, size, flags, count, _, _, _, _, _, _, _ = unpack(value)
        head = value[least + count * VERSION_BYTES :] if count else value[least:]
        yield key[prefix_bytes:], version, flags, size, head


def merged_rows(indexed: Iterator[Found], recent: Iterator[tuple[bytes, Held]]) -> Iterator[Found]:
    """Both in order of their names; of two rows of one name the recent one."""
    coming = next(recent, None)
    if coming is None:
        return indexed
    return _merged(indexed, recent, coming)


def _merged(
    indexed: Iterator[Found], recent: Iterator[tuple[bytes, Held]], coming: tuple[bytes, Held] | None
) -> Iterator[Found]:
    for row in indexed:
        replaced = False
        while coming is not None and coming[0] <= row[0]:
            replaced = coming[0] == row[0]
            yield _found(*coming)
            coming = next(recent, None)
        if not replaced:
            yield row
    while coming is not None:
        yield _found(*coming)
        coming = next(recent, None)


def _found(name: bytes, held: Held) -> Found:
    return name, held.state.version, held.flags, held.size, held.head


def build_page(rows: Iterable[Found], scan: Scan, sealed: bool) -> Page:
    """`storage.paging.cut_page` over rows that are within the scan's range."""
    taken: list[ScannedRow] = []
    pieces: list[bytes] = []
    take, note = taken.append, pieces.extend
    lengths, tombstone = _LENGTHS, int(RowFlag.TOMBSTONE)
    wanted, covered_to = not scan.digest_only, b""
    live_left, bytes_left, rows_left = max(1, scan.limit), PAGE_MAX_BYTES, SCAN_ROWS_MAX
    for name, version, flags, size, head in rows:
        if version == ZERO_VERSION:  # only ever promised
            continue
        if wanted:
            take(ScannedRow(name, version, flags, size, head))
        note((lengths[len(name)], name, version))
        if not flags & tombstone:
            live_left -= 1
        bytes_left -= len(name) + len(head)
        rows_left -= 1
        if not live_left or bytes_left <= 0 or not rows_left:
            covered_to = name + b"\0"
            break
    pieces.append(covered_to)
    digest = xxh3_64_intdigest(b"".join(pieces))
    return Page(taken, digest, covered_to, sealed)
