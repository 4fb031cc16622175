"""Consistent pages of one shard's rows: what listings, counts of parts and deletions are made of.

A page comes from one replica, and the others of a majority confirm it by a digest over names and
versions; only where they differ are rows compared, and each differing one is read by the row protocol.
So a page shows every write acknowledged before it was asked for. Several shards in one order are
`listing.py`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.core.errors import Unavailable
from proxy.core.operations import HEDGE_S
from proxy.core.placement import Replicas
from proxy.core.poll import Poll
from proxy.core.rows import ATTEMPTS_MAX, Rows
from runtime.tasks import together
from storage.contract import RowDevice
from storage.types import SCAN_ROWS_MAX, ZERO_VERSION, Page, RowFlag, Scan, ScannedRow, Want

SCAN_ATTEMPTS: Final = 4

COMPARE_MAX_S: Final = 2.0
"""A replica that has given its digest gives its rows within this, or the page is begun again."""

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
    return row.version != ZERO_VERSION and not row.flags & RowFlag.TOMBSTONE


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
        for _ in range(SCAN_ATTEMPTS):
            pages = await self._majority(scan)
            first = pages[0][1]
            if all(page.digest == first.digest for _, page in pages):
                rows = [row for row in first.rows if not row.flags & RowFlag.TOMBSTONE]
                return ShardPage(rows, first.covered_to, any(page.sealed for _, page in pages))
            if (merged := await self._reconcile(pages, scan)) is not None:
                return merged
        raise Unavailable("the replicas of a listing did not settle")

    async def _majority(self, scan: Scan) -> list[tuple[RowDevice, Page]]:
        """Pages of a majority, all of one epoch: the first in full, the others' digests."""
        patience = self._rows.patience()
        for _ in range(ATTEMPTS_MAX):
            replicas = self._rows.replicas(scan.shard)
            poll, pages = await self._pages_of(replicas, scan)
            if pages:
                return pages
            await self._rows.before_asking_again(replicas, poll, patience)
        raise Unavailable("the ring changes too fast")

    async def _pages_of(
        self, replicas: Replicas, scan: Scan
    ) -> tuple[Poll, list[tuple[RowDevice, Page]]]:
        """A member that fails, or takes its time, is replaced; no pages where too few answer, or one
        has moved on."""
        enough, order = replicas.quorum.enough, replicas.quorum.order
        digest = Scan(scan.shard, scan.start, scan.end, scan.limit, True, scan.prefix)
        poll = self._rows.poll()
        asked = 0
        for member in order:
            if enough[asked]:
                break
            poll.ask(member, replicas.devices[member], digest if asked else scan)
            asked |= 1 << member
        briefly = asked & ~(1 << order[0])  # those who give their digest alone

        def in_full() -> int:
            return poll.mask(Page) & ~briefly

        def agreed() -> bool:
            return poll.stale or (in_full() != 0 and enough[poll.mask(Page)])

        if not await poll.until(agreed, HEDGE_S):
            for member in order:
                if not asked & (1 << member):
                    poll.ask(member, replicas.devices[member], scan)
            await poll.until(agreed)
        if not in_full() or not enough[poll.mask(Page)]:
            return poll, []
        return poll, [(replicas.devices[n], page) for n, page in _chosen(poll, replicas, in_full())]

    async def _reconcile(self, pages: list[tuple[RowDevice, Page]], scan: Scan) -> ShardPage | None:
        """Compare full pages and settle what differs; None to begin again."""
        first = pages[0][1]
        end = first.covered_to or scan.end
        wide = Scan(scan.shard, scan.start, end, SCAN_ROWS_MAX, False, scan.prefix)
        poll = self._rows.poll()
        for number, (device, _) in enumerate(pages[1:]):
            poll.ask(number, device, wide)
        full = [first]
        if await poll.until(lambda: len(_pages(poll)) == len(pages) - 1, COMPARE_MAX_S):
            full += _pages(poll)
        if len(full) < len(pages):
            return None
        held, covered_to = _compared(full)
        rows = await self._settled(scan.shard, held, len(full))
        return ShardPage(rows, covered_to, any(page.sealed for page in full))

    async def _settled(
        self, shard: bytes, held: dict[bytes, list[ScannedRow]], replicas: int
    ) -> list[ScannedRow]:
        """The rows that stand, in order: as all hold them, or as the row protocol finds them. That may
        be no row at all: a write that reached only one replica, which a majority has never seen."""
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
        poll = await self._sealed_majority(scan)
        held, covered_to = _compared([page for page in _pages(poll) if page.sealed])
        newest = (_newest(held[name]) for name in sorted(held))
        return ShardPage([row for row in newest if _live(row)], covered_to, sealed=True)

    async def _sealed_majority(self, scan: Scan) -> Poll:
        patience = self._rows.patience()
        for _ in range(ATTEMPTS_MAX):
            replicas = self._rows.replicas(scan.shard)
            enough = replicas.quorum.enough
            poll = self._rows.poll()
            for number, device in enumerate(replicas.devices):
                poll.ask(number, device, scan)
            await _until_sealed(poll, enough)
            if enough[_sealed(poll)]:
                return poll
            await self._rows.before_asking_again(replicas, poll, patience)
        raise Unavailable("the ring changes too fast")


async def _until_sealed(poll: Poll, enough: tuple[bool, ...]) -> None:
    await poll.until(lambda: poll.stale or enough[_sealed(poll)])


def _pages(poll: Poll) -> list[Page]:
    return [answer for answer in poll.answers.values() if type(answer) is Page]


def _sealed(poll: Poll) -> int:
    """The mask of those who answered that the shard is sealed."""
    return sum(1 << n for n, page in poll.answers.items() if type(page) is Page and page.sealed)


def _chosen(poll: Poll, replicas: Replicas, in_full: int) -> list[tuple[int, Page]]:
    """Pages of as many members as are enough, one in full first."""
    found: list[tuple[int, Page]] = []
    mask = 0
    for number in sorted(poll.answers, key=lambda n: not in_full >> n & 1):
        page = poll.answers[number]
        if type(page) is Page and not replicas.quorum.enough[mask]:
            found.append((number, page))
            mask |= 1 << number
    return found
