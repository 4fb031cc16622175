"""The engine's transactions while copies are made: who makes one, what it relies upon.

The rule, which `sweep` stands on: before a process relies on an object, old or new, it *claims* it
here, and only while its own copy is not taken over. doc/backups.md says why that loses nothing.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from compute.backup.errors import NoSuchCopy, TakenOver
from compute.backup.format import TAG_BYTES, PageRef, Ref
from compute.backup.models import BackupCopy, BackupObject, BackupPage, BackupStore
from compute.database.engine import Database
from runtime.clock import Clock
from runtime.randomness import Randomness

ROOM: Final = "backup"

Result = TypeVar("Result")


class Store(NamedTuple):
    """Where a project's chunks are, and under which key."""

    container: str
    sealed_key: bytes


class Claim(NamedTuple):
    """An object that may be relied upon, once it is stored."""

    object_id: int
    ref: Ref
    is_stored: bool


class Begun(NamedTuple):
    """A copy under way. done: the pages that an earlier attempt has made."""

    copy_id: str
    attempt: str
    container: str
    done: frozenset[int]


class Ledger:
    """The tables. Everything raises DatabaseAway."""

    def __init__(self, database: Database, clock: Clock, randomness: Randomness) -> None:
        self._database = database
        self._clock = clock
        self._randomness = randomness

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

    async def store(self, project_id: str, sealed_key: bytes) -> Store:
        """The project's store. sealed_key: of a new one.

        Its name is of this database alone, so that no sweep here touches what another one made.
        """
        name = f"backups-{project_id}-{self._randomness.token(TAG_BYTES).hex()}"

        def work(session: Session) -> Store:
            row = session.scalar(select(BackupStore).where(BackupStore.project_id == project_id))
            if row is None:
                row = BackupStore(container=name, project_id=project_id, sealed_key=sealed_key, sweep=0)
                session.add(row)
            return Store(row.container, row.sealed_key)

        return await self._write(work)

    # -- copies --

    async def begin(self, copy_id: str, container: str, size_bytes: int) -> Begun:
        """Begin a copy, or take over what an earlier attempt left. Raises TakenOver: it is whole."""
        attempt = self._randomness.token(16).hex()

        def work(session: Session) -> Begun:
            row = session.get(BackupCopy, copy_id)
            if row is None:
                store = session.get_one(BackupStore, container)
                row = BackupCopy(
                    id=copy_id, container=container, since=store.sweep, size_bytes=size_bytes
                )
                session.add(row)
            elif not row.attempt or row.size_bytes != size_bytes or row.container != container:
                raise TakenOver(copy_id)
            row.attempt = attempt
            pages = select(BackupPage.number).where(BackupPage.copy_id == copy_id)
            return Begun(copy_id, attempt, container, frozenset(session.scalars(pages)))

        return await self._write(work)

    async def restart(self, begun: Begun) -> Begun:
        """Forget the pages of earlier attempts: what they were read from may have changed."""

        def work(session: Session) -> Begun:
            _own(session, begun)
            session.execute(delete(BackupPage).where(BackupPage.copy_id == begun.copy_id))
            return begun._replace(done=frozenset())

        return await self._write(work)

    async def adopt(self, begun: Begun, source_id: str) -> None:
        """Give a new copy all pages of a whole one of the same store. Raises NoSuchCopy, TakenOver."""

        def work(session: Session) -> None:
            _own(session, begun)
            source = session.get(BackupCopy, source_id)
            if source is None or source.attempt or source.container != begun.container:
                raise NoSuchCopy(source_id)
            pages = select(BackupPage.number, BackupPage.object_id).where(
                BackupPage.copy_id == source_id
            )
            rows = [
                {"copy_id": begun.copy_id, "number": number, "object_id": object_id}
                for number, object_id in session.execute(pages)
            ]
            if rows:
                session.execute(insert(BackupPage), rows)

        await self._write(work)

    async def finish(self, begun: Begun) -> None:
        """It is whole: its root is written. Raises TakenOver."""

        def work(session: Session) -> None:
            _own(session, begun).attempt = ""

        await self._write(work)

    async def drop(self, copy_id: str) -> None:
        """Forget a copy, whole or not, whoever makes it; the next sweep removes its objects."""
        now = self._clock.now_ns() // 1000

        def work(session: Session) -> None:
            row = session.get(BackupCopy, copy_id)
            if row is None:
                return
            store = session.get_one(BackupStore, row.container)
            store.dirty_us = max(now, (store.dirty_us or 0) + 1)
            session.execute(delete(BackupPage).where(BackupPage.copy_id == copy_id))
            session.delete(row)

        await self._write(work)

    async def is_whole(self, copy_id: str) -> bool:
        """Whether there is such a copy, finished."""

        def work(session: Session) -> bool:
            row = session.get(BackupCopy, copy_id)
            return row is not None and not row.attempt

        return await self._read(work)

    async def pages(self, begun: Begun) -> tuple[PageRef, ...]:
        """The copy's pages so far, in order."""

        def work(session: Session) -> tuple[PageRef, ...]:
            query = (
                select(BackupPage.number, BackupObject.digest, BackupObject.tag)
                .join(BackupObject, BackupObject.id == BackupPage.object_id)
                .where(BackupPage.copy_id == begun.copy_id)
                .order_by(BackupPage.number)
            )
            rows = session.execute(query)
            return tuple(
                PageRef(number, Ref(bytes(digest), bytes(tag))) for number, digest, tag in rows
            )

        return await self._read(work)

    # -- claims --

    async def claim(self, begun: Begun, digests: Sequence[bytes]) -> dict[bytes, Claim]:
        """Objects for these contents. What is not stored is to be written, then told to `stored`.

        Raises TakenOver.
        """

        def work(session: Session) -> dict[bytes, Claim]:
            _own(session, begun)
            sweep = _sweep(session, begun)
            found = _claimed(session, begun.container, digests, sweep)
            for digest in digests:
                if digest not in found:
                    found[digest] = self._made(session, begun.container, digest, sweep, None)
            return found

        return await self._write(work)

    async def claim_page(self, begun: Begun, digest: bytes, chunks: Sequence[Ref]) -> Claim | None:
        """A page's object. None where one of its chunks is there no more: then it is made anew.

        Raises TakenOver.
        """

        def work(session: Session) -> Claim | None:
            _own(session, begun)
            sweep = _sweep(session, begun)
            rows = _claimed(session, begun.container, [ref.digest for ref in chunks], sweep)
            claims = [rows.get(ref.digest) for ref in chunks]
            ids = [claim.object_id for claim in claims if claim is not None and claim.is_stored]
            if [claim and claim.ref for claim in claims] != list(chunks) or len(ids) != len(claims):
                return None
            found = _claimed(session, begun.container, [digest], sweep)
            refs = struct.pack(f">{len(ids)}Q", *ids)
            made = found.get(digest)
            return made or self._made(session, begun.container, digest, sweep, refs)

        return await self._write(work)

    async def stored(self, begun: Begun, object_ids: Iterable[int]) -> None:
        """These objects are written. Raises TakenOver."""
        ids = list(object_ids)

        def work(session: Session) -> None:
            _own(session, begun)
            session.execute(update(BackupObject).where(BackupObject.id.in_(ids)).values(is_stored=True))

        await self._write(work)

    async def add_page(self, begun: Begun, number: int, object_id: int) -> None:
        """A page, claimed and written, is the copy's. Raises TakenOver."""

        def work(session: Session) -> None:
            _own(session, begun)
            session.execute(
                update(BackupObject).where(BackupObject.id == object_id).values(is_stored=True)
            )
            row = BackupPage(copy_id=begun.copy_id, number=number, object_id=object_id)
            session.merge(row)

        await self._write(work)

    def _made(
        self, session: Session, container: str, digest: bytes, sweep: int, refs: bytes | None
    ) -> Claim:
        row = BackupObject(
            container=container,
            digest=digest,
            tag=self._randomness.token(TAG_BYTES),
            claimed=sweep,
            refs=refs,
            is_stored=False,
        )
        session.add(row)
        session.flush()
        return Claim(row.id, Ref(digest, row.tag), False)


def _own(session: Session, begun: Begun) -> BackupCopy:
    row = session.get(BackupCopy, begun.copy_id)
    if row is None or row.attempt != begun.attempt:
        raise TakenOver(begun.copy_id)
    return row


def _sweep(session: Session, begun: Begun) -> int:
    return session.get_one(BackupStore, begun.container).sweep


def _claimed(
    session: Session, container: str, digests: Sequence[bytes], sweep: int
) -> dict[bytes, Claim]:
    """Those that are there, claimed."""
    where: Any = (BackupObject.container == container, BackupObject.digest.in_(list(digests)))
    session.execute(
        update(BackupObject).where(*where, BackupObject.claimed < sweep).values(claimed=sweep)
    )
    query = select(
        BackupObject.id, BackupObject.digest, BackupObject.tag, BackupObject.is_stored
    ).where(*where)
    return {
        bytes(digest): Claim(object_id, Ref(bytes(digest), bytes(tag)), is_stored)
        for object_id, digest, tag, is_stored in session.execute(query)
    }
