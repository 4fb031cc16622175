"""Digests and places by which replicas find out what they differ in, without showing their rows.

Pure; called by the device engine and the in-memory twin, so that equal rows give equal digests.
`storage/types.py` says what they are made of. A digest is XOR over rows, so a replaced row is taken
out and the new one put in, in any order.
"""

from collections.abc import Iterable
from typing import Final

from xxhash import xxh3_64_intdigest

from storage.types import LEAVES, NAME_MAX_BYTES

LENGTHS: Final = [n.to_bytes(4, "little") for n in range(NAME_MAX_BYTES + 1)]


def row_digest(name: bytes, version: bytes) -> int:
    """XXH3-64 over (name length, 4 bytes little-endian; name; version)."""
    return xxh3_64_intdigest(LENGTHS[len(name)] + name + version)


def leaf_of(name: bytes) -> int:
    """Which of a shard's LEAVES a row belongs to."""
    return xxh3_64_intdigest(name) & (LEAVES - 1)


def leaf_digests(rows: Iterable[tuple[bytes, bytes]]) -> list[int]:
    """The digest of each leaf, from (name, version) of rows that have a version."""
    digests = [0] * LEAVES
    for name, version in rows:
        digests[xxh3_64_intdigest(name) & (LEAVES - 1)] ^= row_digest(name, version)
    return digests


def place_of(key: bytes, salt: int) -> int:
    """Where a shard stands among all: 64 bits, whose top ones are its partition."""
    return xxh3_64_intdigest(key, salt)


def place_range(power: int, first: int, count: int) -> tuple[int, int]:
    """The places [low, high) of partitions [first, first + count) of 2^power."""
    shift = 64 - power
    return first << shift, (first + count) << shift
