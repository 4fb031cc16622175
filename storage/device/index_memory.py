"""The in-memory twin of the index contract, for crash tests and simulations.

`on_commit` stands for the synced transaction: it is called on the lane with all tables as they will be,
before readers may see them, so that a recording disk can order commits among its other writes.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from storage.device.index_contract import Table

Tables = dict[Table, dict[bytes, bytes]]


def empty_tables() -> Tables:
    """Tables of a new index."""
    return {table: {} for table in Table}


class MemoryIndex:
    """Dictionaries, copied by each transaction."""

    def __init__(self, tables: Tables | None = None, on_commit: Callable[[Tables], None] | None = None):
        self._committed = {**empty_tables(), **(tables or {})}
        self._published = self._committed
        self._order: dict[Table, list[bytes]] = {}
        self._on_commit = on_commit

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._published[table].get(key)

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows, keys = self._published[table], self._keys(table)
        for i in range(bisect_left(keys, start), len(keys)):
            if end and keys[i] >= end:
                return
            yield keys[i], rows[keys[i]]

    def _keys(self, table: Table) -> list[bytes]:
        keys = self._order.get(table)
        if keys is None:
            keys = self._order[table] = sorted(self._published[table])
        return keys

    def neighbours(self, table: Table, key: bytes) -> list[tuple[bytes, bytes]]:
        rows, keys = self._published[table], self._keys(table)
        at = bisect_left(keys, key)
        return [(near, rows[near]) for near in keys[max(0, at - 1) : at + 1]]

    def begin(self) -> "MemoryWriter":
        return MemoryWriter(self, {table: dict(rows) for table, rows in self._committed.items()})

    def publish(self) -> None:
        self._published = self._committed
        self._order = {}

    def grow(self) -> None:
        """There is always room."""

    def count(self, table: Table) -> int:
        return len(self._published[table])

    def size_bytes(self) -> int:
        return sum(len(k) + len(v) for rows in self._committed.values() for k, v in rows.items())

    def close(self) -> None:
        """Nothing to let go of."""

    def committed(self, tables: Tables) -> None:
        """Called by the writer."""
        if self._on_commit is not None:
            self._on_commit(tables)
        self._committed = tables


class MemoryWriter:
    """One transaction of a MemoryIndex."""

    def __init__(self, index: MemoryIndex, tables: Tables) -> None:
        self._index = index
        self._tables = tables

    def put(self, table: Table, items: Sequence[tuple[bytes, bytes]]) -> None:
        self._tables[table].update(items)

    def remove(self, table: Table, key: bytes) -> None:
        self._tables[table].pop(key, None)

    def commit(self) -> None:
        self._index.committed(self._tables)

    def abort(self) -> None:
        """Nothing was written."""
