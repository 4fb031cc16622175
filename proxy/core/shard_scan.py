"""Consistent pages of one shard's rows: what listings, counts of parts and deletions are made of.

A page comes from one replica, and the others of a majority confirm it by a digest over names and
versions; only where they differ are rows compared, and each differing one is read by the row protocol.
So a page shows every write acknowledged before it was asked for. Several shards in one order are
`listing.py`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.core.errors import Unavailable
from proxy.core.poll import Poll
from proxy.core.rows import HEDGE_S, Rows
from runtime.tasks import together
from storage.contract import DeviceClient
from storage.types import SCAN_ROWS_MAX, Page, RowFlag, Scan, ScannedRow, Want

SCAN_ATTEMPTS: Final = 4

SETTLE_CONCURRENCY_MAX: Final = 32
"""How many rows of which replicas differ are read at once."""


class ShardPage(NamedTuple):
    """Live rows of one shard in [start, covered_to); covered_to b"" where the range is exhausted.

    sealed: a replica said that the shard is.
    """

    rows: list[ScannedRow]
    covered_to: bytes
    sealed: bool


class _Differing(NamedTuple):
    """What the replicas hold of a range, by name, and how far all of them speak."""

    held: dict[bytes, list[ScannedRow]]
    covered_to: bytes


def _live(row: ScannedRow) -> bool:
    return not row.flags & RowFlag.TOMBSTONE


def _newest(held: Iterable[ScannedRow]) -> ScannedRow:
    return max(held, key=lambda row: row.version)


def _compared(pages: list[Page]) -> _Differing:
    """Full pages over what all of them cover."""
    covered_to = min((page.covered_to for page in pages if page.covered_to), default=b"")
    held: dict[bytes, list[ScannedRow]] = {}
    for page in pages:
        for row in page.rows:
            if not covered_to or row.name < covered_to:
                held.setdefault(row.name, []).append(row)
    return _Differing(held, covered_to)


class ShardScan:
    """Consistent pages of single shards."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def page(self, scan: Scan) -> ShardPage:
        """One page. Raises Unavailable; SealedShard where a row that replicas differ in can't be
        settled, because the shard is sealed."""
        replicas = self._rows.replicas(scan.shard)
        members = [replicas.devices[number] for number in replicas.quorum.order]
        for _ in range(SCAN_ATTEMPTS):
            pages = await self._majority(members, scan)
            first = pages[0][1]
            if all(page.digest == first.digest for _, page in pages):
                rows = [row for row in first.rows if not row.flags & RowFlag.TOMBSTONE]
                return ShardPage(rows, first.covered_to, any(page.sealed for _, page in pages))
            if (merged := await self._reconcile(pages, scan)) is not None:
                return merged
        raise Unavailable("the replicas of a listing did not settle")

    async def _majority(
        self, members: list[DeviceClient], scan: Scan
    ) -> list[tuple[DeviceClient, Page]]:
        """Pages of a majority: the first in full, the others' digests. A member that fails, or takes
        its time, is replaced."""
        need = len(members) // 2 + 1
        digest = Scan(scan.shard, scan.start, scan.end, scan.limit, True, scan.prefix)
        poll = self._rows.poll()
        for number, device in enumerate(members[:need]):
            poll.ask(number, device, digest if number else scan)

        def good() -> list[int]:
            """Who answered, those in full first: member 0, and who was asked in another's place."""
            pages = [n for n, answer in poll.answers.items() if type(answer) is Page]
            return sorted(pages, key=lambda n: 0 < n < need)

        def enough() -> bool:
            found = good()
            return len(found) >= need and not 0 < found[0] < need

        if not await poll.until(enough, HEDGE_S):
            for number, device in enumerate(members[need:], need):
                poll.ask(number, device, scan)
            if not await poll.until(enough):
                raise Unavailable(f"no majority of a listing's replicas: {poll.said()}")
        return [(members[n], page) for n in good()[:need] if type(page := poll.answers[n]) is Page]

    async def _reconcile(self, pages: list[tuple[DeviceClient, Page]], scan: Scan) -> ShardPage | None:
        """Compare full pages and settle what differs; None to begin again."""
        first = pages[0][1]
        end = first.covered_to or scan.end
        wide = Scan(scan.shard, scan.start, end, SCAN_ROWS_MAX, False, scan.prefix)
        poll = self._rows.poll()
        for number, (device, _) in enumerate(pages[1:]):
            poll.ask(number, device, wide)
        full = [first]
        if await poll.until(lambda: len(_pages(poll)) == len(pages) - 1):
            full += _pages(poll)
        if len(full) < len(pages):
            return None
        held, covered_to = _compared(full)
        rows = await self._settled(scan.shard, held, len(full))
        return ShardPage(rows, covered_to, any(page.sealed for page in full))

    async def _settled(
        self, shard: bytes, held: dict[bytes, list[ScannedRow]], replicas: int
    ) -> list[ScannedRow]:
        """The rows that stand, in order: as all hold them, or as the row protocol finds them."""
        stands: dict[bytes, ScannedRow] = {}
        differing = []
        for name, rows in held.items():
            if len(rows) == replicas and all(row.version == rows[0].version for row in rows):
                stands[name] = rows[0]
            else:
                differing.append(name)
        for at in range(0, len(differing), SETTLE_CONCURRENCY_MAX):
            names = differing[at : at + SETTLE_CONCURRENCY_MAX]
            found = await together(self._rows.read(shard, name, Want.HEAD) for name in names)
            for name, row in zip(names, found, strict=True):
                flags, size, head, _ = row.value
                stands[name] = ScannedRow(name, row.version, flags, size, head)
        return [stands[name] for name in sorted(stands) if _live(stands[name])]

    async def sealed_page(self, scan: Scan) -> ShardPage:
        """One page of a sealed shard, from a majority of replicas that hold its seal.

        Nothing can be written any more that is not on one of them already: who acknowledged a write
        did so before it was sealed. A replica that the seal has not reached proves nothing, even
        beside others. Where they differ the newest version counts. Raises Unavailable.
        """
        replicas = self._rows.replicas(scan.shard)
        poll = self._rows.poll()
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, scan)
        need = len(replicas.devices) // 2 + 1
        if not await poll.until(lambda: sum(page.sealed for page in _pages(poll)) >= need):
            raise Unavailable(f"too few replicas of a sealed shard are: {poll.said()}")
        held, covered_to = _compared([page for page in _pages(poll) if page.sealed])
        newest = (_newest(held[name]) for name in sorted(held))
        return ShardPage([row for row in newest if _live(row)], covered_to, sealed=True)


def _pages(poll: Poll) -> list[Page]:
    return [answer for answer in poll.answers.values() if type(answer) is Page]
