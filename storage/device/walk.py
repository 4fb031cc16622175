"""Walks over a shard's durable rows: the index with what it lacks laid over it, in order of names."""

from collections.abc import Iterator
from itertools import islice

from storage.device.held import GONE, Held, decode_value
from storage.device.index_contract import Index, Table
from storage.device.page import prefix_end, recent_rows
from storage.device.shards import Shard
from storage.types import ZERO_VERSION


def walk(index: Index, shard: Shard, start: bytes) -> Iterator[tuple[bytes, Held]]:
    """All that is known of rows from name `start` on, promises alone included. IndexDamagedError.

    The iterator must not be used across turns of the loop: what it walks over changes.
    """
    coming = recent_rows(shard, start, b"")
    recent = next(coming, None)
    prefix = shard.prefix
    for key, value in index.scan(Table.ROWS, prefix + start, prefix_end(prefix)):
        name = key[len(prefix) :]
        while recent is not None and recent[0] < name:
            yield recent
            recent = next(coming, None)
        if recent is not None and recent[0] == name:
            yield recent
            recent = next(coming, None)
        else:
            yield name, decode_value(key, value)
    while recent is not None:
        yield recent
        recent = next(coming, None)


def walk_known(index: Index, shard: Shard, start: bytes) -> Iterator[tuple[bytes, Held]]:
    """The same without what was erased."""
    return (row for row in walk(index, shard, start) if row[1] is not GONE)


def versions(index: Index, shard: Shard, start: bytes, limit: int) -> tuple[dict[bytes, bytes], bytes]:
    """Versions of rows by name, from `start` on: those of `limit` indexed rows and what lies between.

    Returns them, in no order, and where to go on, b"" at the end. The index's checksums are not
    looked at: a version that is damaged differs from the other replicas', whose rows are then read.
    IndexDamagedError.
    """
    prefix = shard.prefix
    cut = len(prefix)
    items = index.scan(Table.ROWS, prefix + start, prefix_end(prefix))
    found = {key[cut:]: value[8:40] for key, value in islice(items, limit)}
    end = next(reversed(found)) + b"\0" if len(found) == limit else b""
    for name, held in recent_rows(shard, start, end):
        found[name] = held.state.version
    return {name: version for name, version in found.items() if version != ZERO_VERSION}, end
