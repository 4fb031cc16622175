"""Removing what no copy names any more, while others are being made, from any number of hosts.

1. *Begin*: the store's sweep number is raised. The bound is the least number that a copy under way was
   begun at, or the new number. 2. *Mark* all pages of copies, and their chunks. 3. *Condemn*: rows that
   are not marked and were last claimed before the bound go, pages first. 4. *Remove*: objects without a
   row are deleted. doc/backups.md says why that is safe.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from compute.backup.ledger import ROOM
from compute.backup.models import BackupCopy, BackupObject, BackupPage, BackupStore
from compute.database.engine import Database
from compute.objects.contract import ObjectStore

BATCH: Final = 500
LISTED: Final = 1000

Result = TypeVar("Result")


class Sweep(NamedTuple):
    """One that has begun. dirty_us: what it is to settle."""

    container: str
    bound: int
    dirty_us: int | None


class Marks:
    """A set of row numbers, one bit each: a million in 125 kB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        """Mark."""
        if number >> 3 >= len(self._bits):
            self._bits.extend(bytes((number >> 3) + 1 - len(self._bits)))
        self._bits[number >> 3] |= 1 << (number & 7)

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def __contains__(self, number: int) -> bool:
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] >> (number & 7) & 1)


class Sweeper:
    """Sweeps stores. Everything raises DatabaseAway, StoreAway; then it is done again."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def dirty(self) -> list[str]:
        """The stores where there is something to do."""

        def work(session: Session) -> list[str]:
            query = select(BackupStore.container).where(BackupStore.dirty_us.is_not(None))
            return list(session.scalars(query))

        return await self._read(work)

    async def count(self, copy_id: str) -> int:
        """The objects of a whole copy: root, pages, their chunks; 0 of one that is elsewhere."""

        def work(session: Session) -> int:
            if session.get(BackupCopy, copy_id) is None:
                return 0
            query = (
                select(BackupObject.id, BackupObject.refs)
                .join(BackupPage, BackupPage.object_id == BackupObject.id)
                .where(BackupPage.copy_id == copy_id)
            )
            return 1 + len(_marked(session.execute(query.execution_options(yield_per=BATCH))))

        return await self._read(work)

    async def sweep(self, container: str) -> int:
        """Sweep a store; how many objects were deleted."""
        begun = await self._write(lambda session: _begun(session, container))
        marks = await self._read(lambda session: _marks(session, begun))
        for is_page in (True, False):
            await self._condemn(begun, marks, is_page=is_page)
        removed = await self._remove(container)
        await self._write(lambda session: _settled(session, begun))
        return removed

    async def _condemn(self, begun: Sweep, marks: Marks, *, is_page: bool) -> None:
        after = 0
        while True:
            ids = await self._read(partial(_ids, begun=begun, after=after, is_page=is_page))
            if not ids:
                return
            after = ids[-1]
            gone = [number for number in ids if number not in marks]
            if gone:
                await self._write(partial(_condemned, begun=begun, gone=gone))

    async def _remove(self, container: str) -> int:
        """The listing comes before the look at the rows, and a row before its object."""
        removed, after = 0, ""
        while rows := await self._objects.listing(container, marker=after, limit=LISTED):
            after = rows[-1].name
            names = [row.name for row in rows]
            known = await self._read(partial(_known, container=container, names=names))
            for name in names:
                if name not in known:
                    removed += await self._objects.delete(container, name)
        return removed

    async def _write(self, work: Callable[[Session], Result]) -> Result:
        def run() -> Result:
            with self._database.write(ROOM, changes=False) as session:
                return work(session)

        return await self._database.run(run)

    async def _read(self, work: Callable[[Session], Result]) -> Result:
        def run() -> Result:
            with self._database.read() as session:
                return work(session)

        return await self._database.run(run)


def _begun(session: Session, container: str) -> Sweep:
    store = session.get_one(BackupStore, container)
    store.sweep += 1
    under_way = select(func.min(BackupCopy.since)).where(
        BackupCopy.container == container, BackupCopy.attempt != ""
    )
    since = session.scalar(under_way)
    return Sweep(container, store.sweep if since is None else since, store.dirty_us)


def _marks(session: Session, begun: Sweep) -> Marks:
    return _marked(_live_pages(session, begun))


def _marked(pages: Iterable[Any]) -> Marks:
    """Pages and their chunks."""
    marks = Marks()
    for number, refs in pages:
        marks.add(number)
        for (chunk,) in struct.iter_unpack(">Q", bytes(refs)):
            marks.add(chunk)
    return marks


def _live_pages(session: Session, begun: Sweep) -> Iterator[Any]:
    """Pages of copies, and those that were claimed lately."""
    of_copies = (
        select(BackupPage.object_id)
        .join(BackupCopy, BackupCopy.id == BackupPage.copy_id)
        .where(BackupCopy.container == begun.container)
    )
    query = select(BackupObject.id, BackupObject.refs).where(
        BackupObject.container == begun.container,
        BackupObject.refs.is_not(None),
        BackupObject.id.in_(of_copies) | (BackupObject.claimed >= begun.bound),
    )
    return iter(session.execute(query.execution_options(yield_per=BATCH)))


def _kind(is_page: bool) -> ColumnElement[bool]:
    return BackupObject.refs.is_not(None) if is_page else BackupObject.refs.is_(None)


def _ids(session: Session, begun: Sweep, after: int, is_page: bool) -> Sequence[int]:
    query = (
        select(BackupObject.id)
        .where(
            BackupObject.container == begun.container,
            BackupObject.id > after,
            BackupObject.claimed < begun.bound,
            _kind(is_page),
        )
        .order_by(BackupObject.id)
        .limit(BATCH)
    )
    return session.scalars(query).all()


def _condemned(session: Session, begun: Sweep, gone: Sequence[int]) -> None:
    session.execute(
        delete(BackupObject).where(BackupObject.id.in_(gone), BackupObject.claimed < begun.bound)
    )


def _known(session: Session, container: str, names: Sequence[str]) -> set[str]:
    """Those of these objects that have a row."""
    copies = [name.removeprefix("m/") for name in names if name.startswith("m/")]
    digests = [_digest(name) for name in names if name.startswith("d/")]
    rows = session.execute(
        select(BackupObject.digest, BackupObject.tag).where(
            BackupObject.container == container, BackupObject.digest.in_(digests)
        )
    )
    known = {f"d/{bytes(digest).hex()}-{bytes(tag).hex()}" for digest, tag in rows}
    found = session.scalars(select(BackupCopy.id).where(BackupCopy.id.in_(copies)))
    return known | {f"m/{copy_id}" for copy_id in found}


def _digest(name: str) -> bytes:
    try:
        return bytes.fromhex(name.removeprefix("d/").partition("-")[0])
    except ValueError:
        return b""


def _settled(session: Session, begun: Sweep) -> None:
    """Only what it began with: what was dropped meanwhile asks for another sweep."""
    session.execute(
        update(BackupStore)
        .where(BackupStore.container == begun.container, BackupStore.dirty_us == begun.dirty_us)
        .values(dirty_us=None)
    )
