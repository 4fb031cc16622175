"""The device's index in LMDB: the only module that imports lmdb.

The environment is opened without LMDB's own locks: the device's lock file keeps other processes out,
and within the process there is one reader, pinned to the last published commit, and at most one writer
that begins after the reader has moved there. LMDB reuses pages only of commits before the last one, so
the pinned reader stays whole without a reader table, and a transaction may be filled on the event loop
and committed on a thread. (py-lmdb gives up the GIL on each put: on a thread beside a busy loop 16,000
puts took over 8 s, waiting a switch interval each; on the loop in slices they take 20 ms.)

LMDB's keys end at 511 bytes, names don't. A longer key is cut: its first part is a marker under which
the rest lives in a second table, below a hash of that first part, and so on. Byte order stays exact,
because a marker is longer than any whole key of its table.
"""

import errno
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import lmdb
from lmdb.verify import VerifyError, verify

from storage.device.held import IndexDamagedError
from storage.device.index_contract import IndexFullError, Table

KEY_MAX_BYTES: Final = 511
NODE_BYTES: Final = 16
MAP_BYTES: Final = 1 << 30
"""The map's first size; it doubles when it is full. It is address space, not memory."""

_LONG: Final = b"long"
_MARKER: Final = b"\x00"


def _node(prefix: bytes) -> bytes:
    """Where keys that begin with `prefix` go on. Cryptographic: names are chosen by strangers."""
    return hashlib.blake2b(prefix, digest_size=NODE_BYTES).digest()


def is_long(key: bytes) -> bool:
    """True for a key that needs more than one LMDB key."""
    return len(key) >= KEY_MAX_BYTES


def place_long(key: bytes) -> tuple[list[bytes], bytes]:
    """Marker keys of a long key (the first in the rows' table) and its own key in the long table."""
    cut = KEY_MAX_BYTES
    markers = [key[:cut]]
    while True:
        node, rest = _node(key[:cut]), key[cut:]
        if len(rest) < KEY_MAX_BYTES - NODE_BYTES:
            return markers, node + rest
        cut += KEY_MAX_BYTES - NODE_BYTES
        markers.append(node + rest[: KEY_MAX_BYTES - NODE_BYTES])


def open_lmdb(path: str, map_bytes: int = MAP_BYTES) -> "LmdbIndex":
    """Open or create the index in the directory `path`. IndexDamagedError, OSError."""
    try:
        env = lmdb.open(
            path, map_size=map_bytes, max_dbs=len(Table) + 1, lock=False, readahead=False, mode=0o600
        )
        names = [table.name.lower().encode() for table in Table]
        return LmdbIndex(env, [env.open_db(name) for name in names], env.open_db(_LONG))
    except lmdb.Error as error:
        raise _foreign(error) from error


def verify_lmdb(path: str) -> str:
    """What is wrong with the structure of a closed index, or empty. Reads all of it, without LMDB."""
    try:
        problems = verify(path, subdir=True)  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        return ""
    except (VerifyError, OSError) as error:
        return str(error)
    return "; ".join(problems[:3])


class LmdbIndex:
    """The index contract over one LMDB environment."""

    def __init__(self, env: Any, tables: list[Any], long: Any) -> None:
        self._env = env
        self._tables = tables
        self._long = long
        self._rows = tables[Table.ROWS]
        self._reader = env.begin()
        self._get = self._reader.get
        self._closed = False

    def get(self, table: Table, key: bytes) -> bytes | None:
        try:
            if len(key) < KEY_MAX_BYTES:
                return self._get(key, None, self._tables[table])  # type: ignore[no-any-return]
            return self._get(place_long(key)[1], None, self._long)  # type: ignore[no-any-return]
        except lmdb.Error as error:
            raise _foreign(error) from error

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            cursor = self._reader.cursor(self._tables[table])
            if not _seek(cursor, start[:KEY_MAX_BYTES]):
                return
            for key, value in cursor.iternext(True, True):
                if end and key >= end:
                    return
                if len(key) < KEY_MAX_BYTES:
                    yield key, value
                else:
                    yield from self._scan_long(key, start, end)
        except lmdb.Error as error:
            raise _foreign(error) from error

    def _scan_long(self, prefix: bytes, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        node, rest = _node(prefix), b""
        if start.startswith(prefix):
            rest = start[len(prefix) :]
        elif start > prefix:
            return
        cursor = self._reader.cursor(self._long)
        if not cursor.set_range((node + rest)[:KEY_MAX_BYTES]):
            return
        for key, value in cursor.iternext(True, True):
            if key[:NODE_BYTES] != node:
                return
            whole = prefix + key[NODE_BYTES:]
            if len(key) == KEY_MAX_BYTES:
                yield from self._scan_long(whole, start, end)
            elif end and whole >= end:
                return
            else:
                yield whole, value

    def neighbours(self, table: Table, key: bytes) -> list[tuple[bytes, bytes]]:
        try:
            if len(key) >= KEY_MAX_BYTES:
                return []  # the marker's table and the long one are ordered by hashes
            cursor = self._reader.cursor(self._tables[table])
            found = [cursor.item()] if _seek(cursor, key) else []
            if cursor.prev() if found else cursor.last():
                found.insert(0, cursor.item())
            return [(near, value) for near, value in found if len(near) < KEY_MAX_BYTES]
        except lmdb.Error as error:
            raise _foreign(error) from error

    def begin(self) -> "LmdbWriter":
        try:
            return LmdbWriter(self._env.begin(write=True), self._tables, self._long)
        except lmdb.Error as error:
            raise _foreign(error) from error

    def publish(self) -> None:
        self._reader.abort()
        self._reader = self._env.begin()
        self._get = self._reader.get

    def grow(self) -> None:
        self._reader.abort()
        self._env.set_mapsize(self._env.info()["map_size"] * 2)
        self.publish()

    def count(self, table: Table) -> int:
        return 0 if self._closed else int(self._reader.stat(self._tables[table])["entries"])

    def size_bytes(self) -> int:
        if self._closed:
            return 0
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._reader.abort()
            self._env.close()


class LmdbWriter:
    """One LMDB write transaction."""

    def __init__(self, txn: Any, tables: list[Any], long: Any) -> None:
        self._txn = txn
        self._tables = tables
        self._long = long

    def put(self, table: Table, items: Sequence[tuple[bytes, bytes]]) -> None:
        put, db = self._txn.put, self._tables[table]
        try:
            for key, value in items:
                if len(key) < KEY_MAX_BYTES:
                    put(key, value, True, True, False, db)
                else:
                    self._put_long(key, value)
        except lmdb.Error as error:
            raise _foreign(error) from error

    def _put_long(self, key: bytes, value: bytes) -> None:
        markers, place = place_long(key)
        self._txn.put(markers[0], _MARKER, db=self._tables[Table.ROWS])
        for marker in markers[1:]:
            self._txn.put(marker, _MARKER, db=self._long)
        self._txn.put(place, value, db=self._long)

    def remove(self, table: Table, key: bytes) -> None:
        try:
            if is_long(key):  # the markers stay: they cost a look, and others may stand under them
                self._txn.delete(place_long(key)[1], db=self._long)
            else:
                self._txn.delete(key, db=self._tables[table])
        except lmdb.Error as error:
            raise _foreign(error) from error

    def commit(self) -> None:
        try:
            self._txn.commit()
        except lmdb.Error as error:
            raise _foreign(error) from error

    def abort(self) -> None:
        with suppress(lmdb.Error):  # an aborted or broken transaction has nothing left to drop
            self._txn.abort()


def _seek(cursor: Any, key: bytes) -> bool:
    """Go to the first key at or above `key`; false where there is none.

    A damaged separator in a branch page leads to a wrong leaf: its neighbours then don't enclose `key`.
    """
    found: bool = cursor.set_range(key)
    if found and cursor.key() < key:
        raise IndexDamagedError("the index's keys are out of order")
    before = cursor.prev() if found else cursor.last()
    if before and cursor.key() >= key:
        raise IndexDamagedError("the index's keys are out of order")
    if found:
        cursor.next() if before else cursor.first()
    return found


def _foreign(error: Exception) -> Exception:
    if isinstance(error, lmdb.MapFullError):
        return IndexFullError(str(error))
    if isinstance(error, lmdb.DiskError) or "No space left" in str(error):
        return OSError(errno.ENOSPC, str(error))
    if "Input/output error" in str(error):
        return OSError(errno.EIO, str(error))
    return IndexDamagedError(f"LMDB: {error}")
