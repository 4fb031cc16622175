"""A small table of the index with what no checkpoint has written yet laid over it."""

from collections.abc import Iterator
from itertools import islice

from storage.device.index_contract import Index, Table, guard, unguard

Changes = dict[bytes, bytes | None]
"""New values by key; None where the key was removed."""


class Overlay:
    """One table: its newest changes, those on their way into the index, and the index."""

    def __init__(self, table: Table, index: Index) -> None:
        self.table = table
        self.index = index
        self._active: Changes = {}
        self._frozen: Changes = {}

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value, or remove it with None. Durable things only."""
        self._active[key] = value

    @property
    def dirty(self) -> bool:
        """True where the index lacks something that is not on its way."""
        return bool(self._active)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. IndexDamagedError."""
        for changes in (self._active, self._frozen):
            if key in changes:
                return changes[key]
        guarded = self.index.get(self.table, key)
        return None if guarded is None else unguard(key, guarded)

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs from `start` on, in key order. IndexDamagedError. Not across changes."""
        changes = {**self._frozen, **self._active}
        coming = iter(sorted(key for key in changes if key >= start))
        key = next(coming, None)
        for indexed, guarded in self.index.scan(self.table, start, b""):
            while key is not None and key < indexed:
                yield from _present(key, changes)
                key = next(coming, None)
            if indexed == key:
                yield from _present(key, changes)
                key = next(coming, None)
            else:
                yield indexed, unguard(indexed, guarded)
        while key is not None:
            yield from _present(key, changes)
            key = next(coming, None)

    def first(self, start: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs from `start` on."""
        return list(islice(self.items(start), max(0, limit)))

    def freeze(self) -> None:
        """The changes go on their way into the index."""
        self._frozen, self._active = self._active, {}

    def frozen(self) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """What is on its way: guarded pairs in key order, and removed keys."""
        kept = [
            (key, guard(key, value)) for key, value in sorted(self._frozen.items()) if value is not None
        ]
        return kept, [key for key, value in self._frozen.items() if value is None]

    def thaw(self) -> None:
        """The index has it."""
        self._frozen = {}


def _present(key: bytes, changes: Changes) -> Iterator[tuple[bytes, bytes]]:
    value = changes[key]
    if value is not None:
        yield key, value
