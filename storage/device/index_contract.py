"""What the engine asks of its index: ordered tables, one atomic synced commit per checkpoint.

Two implementations keep this contract and one conformance suite: LMDB (`storage/device/index.py`) and
the in-memory twin (`storage/device/index_memory.py`) that the crash tests replay. The index is derived
from the journal: losing it costs a rebuild, never a row.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from xxhash import xxh3_64_digest

from storage.device.held import IndexDamagedError

FORMAT: Final = 2
FORMAT_OLDEST: Final = 1
"""The oldest one that this program reads; `upgrade.py` makes it the newest."""

KEY_CHECK_BYTES: Final = 8


class Table(enum.IntEnum):
    """The index's tables; keys are ordered as bytes within each."""

    META = 0  # b"checkpoint" -> format, journal position
    ROWS = 1  # shard prefix + name -> row value
    SHARDS = 2  # shard prefix -> counts and digest
    SEGMENTS = 3  # segment number -> live bytes
    BLOBS = 4  # id + number -> blob entry
    GARBAGE = 5  # seq -> garbage hint
    ERASURES = 6  # place of its first record -> where an erasure's record is now


class IndexFullError(Exception):
    """The map is too small for the transaction; nothing was written. `grow` and write again."""


class IndexWriter(Protocol):
    """One transaction; exactly one of commit and abort ends it. One at a time per index."""

    def put(self, table: Table, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Store key-value pairs; quickest in key order. IndexFullError, IndexDamagedError, OSError."""

    def remove(self, table: Table, key: bytes) -> None:
        """Remove a key, if it is there. IndexDamagedError."""

    def commit(self) -> None:
        """Write and sync; all or nothing. Blocks: runs on a lane. IndexFullError, OSError.

        Readers see the commit after `publish`, not before.
        """

    def abort(self) -> None:
        """Drop the transaction. Idempotent."""


class Index(Protocol):
    """Reads see the published snapshot. All calls but `IndexWriter.commit` belong to one thread."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value of a key, unverified. IndexDamagedError."""

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < end (empty: no bound) in key order. IndexDamagedError.

        The iterator must not be used after `publish`, `grow` or `close`.
        """

    def neighbours(self, table: Table, key: bytes) -> list[tuple[bytes, bytes]]:
        """The pairs right before and right after `key`, which is not there. IndexDamagedError.

        Where a flipped bit made one key into another, a look for the old one ends beside the new one.
        """

    def begin(self) -> IndexWriter:
        """Start a transaction."""

    def publish(self) -> None:
        """Let readers see the last commit."""

    def grow(self) -> None:
        """Make room after IndexFullError. No transaction may be open."""

    def count(self, table: Table) -> int:
        """How many keys a table has; long ones that share a beginning may count as one."""

    def size_bytes(self) -> int:
        """What the index takes on disk."""

    def close(self) -> None:
        """Idempotent."""


OpenIndex = Callable[[str], Index]
"""Opens or creates the index in a directory; IndexDamagedError where it can't be read."""


def guard(key: bytes, value: bytes) -> bytes:
    """`value` with a checksum over key and value before it."""
    return xxh3_64_digest(key + value) + value


def unguard(key: bytes, guarded: bytes) -> bytes:
    """The inverse of `guard`; IndexDamagedError where the checksum does not match."""
    value = guarded[KEY_CHECK_BYTES:]
    if xxh3_64_digest(key + value) != guarded[:KEY_CHECK_BYTES]:
        raise IndexDamagedError("an index value does not match its checksum")
    return value
