"""One database: transactions of one kind on SQLite and on PostgreSQL, on threads of their own.

Sessions are synchronous and run on a few threads. Measured against asynchronous engines with the
queries of a token's validation on 2 cores: see ARCHITECTURE.md.

A *read* sees one snapshot. A *write* is alone in its room from its first statement to its commit:
SQLite has one writer anyway (BEGIN IMMEDIATE), on PostgreSQL an advisory lock gives the same to all
processes of all hosts. So "look, then change" is safe, and the constraints guard what is said to be
unique. What is slow (hashing, calls elsewhere) is done before. Each write raises its room's number
(`Change`).
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from compute.database.base import Change

THREADS: Final = 8
"""As many transactions run at once in a process; further requests wait for a thread."""
BUSY_S: Final = 10
"""How long a transaction waits for another one's lock before the client hears 503."""
STATEMENT_S: Final = 30

_WRITES: Final = "atoll_writes"

Result = TypeVar("Result")


class DatabaseAway(Exception):
    """The database can't be reached, is locked for too long, or was lost. Try again later."""


class NotUnique(Exception):
    """A constraint was broken: what was to be unique exists, or what was referred to does not."""


class Database:
    """One database's engine and threads. url: as SQLAlchemy writes it, sqlite:///… or postgresql://…"""

    def __init__(self, url: str, threads: int = THREADS) -> None:
        self.url = url
        self._engine = _engine(url, threads)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        level: dict[str, Any] = (
            {}
            if self._is_sqlite
            else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        self._reader = self._engine.execution_options(**level)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    @property
    def engine(self) -> Engine:
        """For migrations and for tests that look at tables."""
        return self._engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one snapshot. Raises DatabaseAway."""
        with _told(), Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self, room: str, *, changes: bool = True) -> Iterator[Session]:
        """A session that is alone in `room`, committed at the end, rolled back by any exception.

        changes: raise the room's number, so that what is cached from it is looked up anew.
        Raises DatabaseAway, NotUnique.
        """
        with _told(), Session(self._writer, expire_on_commit=False) as session:
            if not self._is_sqlite:
                lock = text("SELECT pg_advisory_xact_lock(:room)")
                session.execute(lock, {"room": _lock_number(room)})
            yield session
            if changes:
                self._raise_number(session, room)
            session.commit()

    @staticmethod
    def _raise_number(session: Session, room: str) -> None:
        change = session.get(Change, room)
        if change is None:
            session.add(Change(room=room, number=1))
        else:
            change.number += 1

    def change_number(self, room: str) -> int:
        """The room's number as the last commit left it. Raises DatabaseAway."""
        with _told(), self._reader.connect() as connection:
            return _number(connection, room)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Call `work` on a thread of the database's; it opens its transactions itself."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for what runs, then close all connections."""
        self._threads.shutdown()
        self._engine.dispose()


_NUMBER: Final = text("SELECT number FROM change WHERE room = :room")


def _number(connection: Connection, room: str) -> int:
    return int(connection.execute(_NUMBER, {"room": room}).scalar() or 0)


def _lock_number(room: str) -> int:
    """The advisory lock of a room: 63 bits of a hash of its name, the same in every process."""
    return int.from_bytes(hashlib.sha256(f"atoll {room}".encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except IntegrityError as error:
        raise NotUnique(str(error.orig)) from error
    except OperationalError as error:
        raise DatabaseAway(str(error.orig)) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseAway(str(error.orig)) from error
        raise


def _engine(url: str, threads: int) -> Engine:
    made = make_url(url)
    if made.get_backend_name() == "sqlite":
        return _sqlite(url, threads)
    if made.drivername == "postgresql":
        made = made.set(drivername="postgresql+psycopg")
    options = f"-c lock_timeout={BUSY_S * 1000} -c statement_timeout={STATEMENT_S * 1000}"
    return create_engine(
        made,
        pool_size=threads,
        max_overflow=2,
        pool_pre_ping=True,
        connect_args={"options": options, "connect_timeout": BUSY_S},
    )


def _sqlite(url: str, threads: int) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        _private_file(path)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=threads + 2,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_S},
    )
    event.listen(engine, "connect", _sqlite_connected)
    event.listen(engine, "begin", _sqlite_begins)
    return engine


def _private_file(path: str) -> None:
    """Make the file with mode 0600 before SQLite makes it readable; it copies the mode to its log."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _sqlite_connected(connection: Any, _record: Any) -> None:
    """Acknowledged is durable: the write-ahead log is synced at each commit."""
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-8000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_begins(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
