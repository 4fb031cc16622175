"""How a Scan's page is cut and digested, so that replicas with the same rows give the same bytes.

Pure; called by the device engine, the in-memory twin, and by the proxy where it cuts merged pages.
"""

from collections.abc import Iterable
from typing import Final

import xxhash

from storage.types import SCAN_ROWS_MAX, SEAL_NAME, Page, RowFlag, Scan, ScannedRow

LENGTH_BYTES: Final = 4

PAGE_MAX_BYTES: Final = 4 * 1024 * 1024
"""A page ends with the row whose name and head bring it to this size, so that it fits a frame."""


def page_digest(rows: Iterable[ScannedRow], covered_to: bytes) -> int:
    """XXH3-64 over (name length, 4 bytes little-endian; name; version) of `rows`, then `covered_to`."""
    digest = xxhash.xxh3_64()
    for row in rows:
        digest.update(len(row.name).to_bytes(LENGTH_BYTES, "little") + row.name + row.version)
    digest.update(covered_to)
    return int(digest.intdigest())


def first_name(scan: Scan) -> bytes:
    """The lowest name that the scan may give."""
    return max(scan.start, scan.prefix)


def cut_page(rows: Iterable[ScannedRow], scan: Scan, sealed: bool) -> Page:
    """The page of `scan` from `rows`: the shard's rows in byte order from `first_name(scan)` on.

    It ends right after the row that reaches the limit of live rows (at least one), SCAN_ROWS_MAX or
    PAGE_MAX_BYTES, without a look at what follows: so it depends on nothing but the rows it covers,
    and `covered_to` is then the last name and a zero byte.
    """
    taken: list[ScannedRow] = []
    covered_to = b""
    live_left = max(1, scan.limit)
    bytes_left = PAGE_MAX_BYTES
    for row in rows:
        if _past(row.name, scan):
            break
        if row.name == SEAL_NAME:
            continue
        taken.append(row)
        live_left -= not row.flags & RowFlag.TOMBSTONE
        bytes_left -= len(row.name) + len(row.head)
        if live_left == 0 or bytes_left <= 0 or len(taken) == SCAN_ROWS_MAX:
            covered_to = row.name + b"\0"
            break
    digest = page_digest(taken, covered_to)
    return Page([] if scan.digest_only else taken, digest, covered_to, sealed)


def _past(name: bytes, scan: Scan) -> bool:
    if scan.end and name >= scan.end:
        return True
    return not name.startswith(scan.prefix) and name > scan.prefix
