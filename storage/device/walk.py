"""Walks over a shard's durable rows: the index with what it lacks laid over it, in order of names."""

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from storage.device.held import GONE, Held, decode_value
from storage.device.index_contract import Index, Table
from storage.device.page import prefix_end, recent_rows
from storage.device.shards import Shard
from storage.digests import LENGTHS, leaf_of, row_digest
from storage.types import LEAVES, VERSION_BYTES, ZERO_VERSION

VERSION: Final = slice(8, 8 + VERSION_BYTES)
"""Where a row's value in the index has its version."""


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


class Slice(NamedTuple):
    """Some of a shard's rows. indexed: raw items of the index; recent: what lies over and between them.

    end: where to go on, b"" at the shard's end.
    """

    indexed: list[tuple[bytes, bytes]]
    recent: dict[bytes, Held]
    end: bytes


def _slice(index: Index, shard: Shard, start: bytes, limit: int) -> Slice:
    """`limit` indexed rows from name `start` on, and the recent ones up to the last of them."""
    prefix = shard.prefix
    indexed = list(islice(index.scan(Table.ROWS, prefix + start, prefix_end(prefix)), limit))
    end = indexed[-1][0][len(prefix) :] + b"\0" if len(indexed) == limit else b""
    return Slice(indexed, dict(recent_rows(shard, start, end)), end)


def fold_leaves(index: Index, shard: Shard, start: bytes, limit: int, digests: list[int]) -> bytes:
    """Take the rows of a slice into the digests of their leaves; where to go on. IndexDamagedError.

    The index's checksums are not looked at: a version that is damaged makes another digest than the
    other replicas', and is found when its row is read. One loop, because a sync costs what it costs.
    """
    indexed, recent, end = _slice(index, shard, start, limit)
    digest, lengths, cut, last = xxh3_64_intdigest, LENGTHS, len(shard.prefix), LEAVES - 1
    for key, value in indexed:
        name, version = key[cut:], value[VERSION]
        if version != ZERO_VERSION and not (recent and name in recent):
            digests[digest(name) & last] ^= digest(lengths[len(name)] + name + version)
    for name, held in recent.items():
        if held.state.version != ZERO_VERSION:
            digests[leaf_of(name)] ^= row_digest(name, held.state.version)
    return end


def versions_in(
    index: Index, shard: Shard, start: bytes, limit: int, leaves: frozenset[int]
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """(name, version) of the rows of a slice that are in these leaves; where to go on.

    IndexDamagedError. About checksums see `fold_leaves`.
    """
    indexed, recent, end = _slice(index, shard, start, limit)
    digest, cut, last = xxh3_64_intdigest, len(shard.prefix), LEAVES - 1
    found = {}
    for key, value in indexed:
        name = key[cut:]
        if digest(name) & last in leaves:
            found[name] = value[VERSION]
    found |= {name: held.state.version for name, held in recent.items() if leaf_of(name) in leaves}
    return sorted(row for row in found.items() if row[1] != ZERO_VERSION), end
