"""The rows of the in-memory twin, and what it answers other replicas about them.

The messages of clients are `storage/memory.py`'s; those of sync, settling and reclaim are here.
"""

from collections.abc import Container, Iterator
from typing import NamedTuple

from sortedcontainers import SortedDict

from runtime.clock import stamp_ns
from storage import replica
from storage.changes import ChangeLog
from storage.digests import leaf_digests, leaf_of, place_of, place_range, row_digest
from storage.types import (
    DAMAGED,
    PULL_BYTES_MAX,
    PULL_ROWS_MAX,
    SEAL_NAME,
    SHARDS_PER_LIST_MAX,
    STAMP_BYTES,
    VERSIONS_ROWS_MAX,
    ZERO_VERSION,
    Changed,
    Changes,
    Clear,
    Forget,
    LeafDigests,
    ListShards,
    PartitionSummary,
    Pull,
    Pulled,
    PulledRow,
    RowFlag,
    ShardList,
    ShardSummary,
    Summarize,
    Summary,
    VersionList,
    Versions,
)


class Held(NamedTuple):
    """One row of the twin: versions and value."""

    state: replica.RowState
    flags: int = 0
    size: int = 0
    head: bytes = b""
    payload: bytes = b""


NO_ROW = Held(replica.RowState())


class Shard:
    """One shard's rows in order of their names, and what is counted of them."""

    def __init__(self) -> None:
        self.rows: SortedDict = SortedDict()
        self.live_rows = 0
        self.live_bytes = 0
        self.digest = 0
        self.changes: ChangeLog | None = None

    def get(self, name: bytes) -> Held:
        """A row, NO_ROW where there is none."""
        held: Held = self.rows.get(name, NO_ROW)
        return held

    @property
    def sealed(self) -> bool:
        """True while its seal row stands."""
        seal = self.get(SEAL_NAME)
        return seal.state.version != ZERO_VERSION and not seal.flags & RowFlag.TOMBSTONE

    def put(self, name: bytes, held: Held) -> None:
        """Take `held` in the row's place."""
        self._count(name, self.get(name), -1)
        self._count(name, held, 1)
        self.rows[name] = held
        self._note(name)

    def remove(self, name: bytes) -> None:
        """Forget a row."""
        self._count(name, self.get(name), -1)
        del self.rows[name]
        self._note(name)

    def _note(self, name: bytes) -> None:
        if self.changes is not None:
            self.changes.note(name)

    def _count(self, name: bytes, held: Held, sign: int) -> None:
        if held.state.version == ZERO_VERSION:
            return
        self.digest ^= row_digest(name, held.state.version)
        hidden = RowFlag.TOMBSTONE | RowFlag.UNCOUNTED
        if name != SEAL_NAME and not held.flags & hidden:
            self.live_rows += sign
            self.live_bytes += sign * held.size

    def versions(self) -> Iterator[tuple[bytes, bytes]]:
        """(name, version) of all rows that have one."""
        for name, held in self.rows.items():
            if held.state.version != ZERO_VERSION:
                yield name, held.state.version

    def forgets(self, name: bytes, version: bytes, before_ns: int, *, bad: bool) -> bool:
        """True where the row is just that tombstone, or bad, and all it knows is old."""
        held = self.get(name)
        state = held.state
        stamps = (version, version[STAMP_BYTES:], state.promised)
        return (
            state.version == version != ZERO_VERSION
            and (bad or held.flags & RowFlag.TOMBSTONE != 0)
            and max(stamp_ns(stamp) for stamp in stamps) < before_ns
        )


Shards = dict[bytes, Shard]


def _placed(shards: Shards, salt: int, low: int, high: int) -> list[tuple[int, bytes]]:
    """(place, key) of the shards in [low, high) that hold anything, in order."""
    places = ((place_of(key, salt), key) for key, shard in shards.items() if shard.rows)
    return sorted((place, key) for place, key in places if low <= place < high)


def summarize(shards: Shards, message: Summarize) -> Summary:
    """See types.Summarize."""
    found: dict[int, PartitionSummary] = {}
    shift = 64 - message.power
    for place, key in _placed(
        shards, message.salt, *place_range(message.power, message.first, message.count)
    ):
        shard, partition = shards[key], place >> shift
        before = found.get(partition, PartitionSummary(partition, 0, 0, 0, 0))
        found[partition] = PartitionSummary(
            partition,
            before.digest ^ shard.digest,
            before.rows + len(shard.rows),
            before.live + shard.live_rows,
            before.size_bytes + shard.live_bytes,
        )
    return Summary(list(found.values()))


def list_shards(shards: Shards, message: ListShards) -> ShardList:
    """See types.ListShards."""
    low, high = place_range(message.power, message.partition, 1)
    keys = sorted(key for _, key in _placed(shards, message.salt, low, high) if key > message.after)
    found = [_shard_summary(key, shards[key]) for key in keys[:SHARDS_PER_LIST_MAX]]
    return ShardList(found, len(keys) > SHARDS_PER_LIST_MAX)


def _shard_summary(key: bytes, shard: Shard) -> ShardSummary:
    return ShardSummary(
        key, shard.digest, len(shard.rows), shard.live_rows, shard.live_bytes, shard.sealed
    )


def pull(shard: Shard, message: Pull, damaged: Container[tuple[bytes, bytes]]) -> tuple[Pulled, bytes]:
    """See types.Pull. damaged: (shard, name) of rows whose payload is bad."""
    rows: list[PulledRow] = []
    payloads: list[bytes] = []
    size, limit = 0, max(1, min(message.limit, PULL_ROWS_MAX))
    for name in shard.rows.irange(message.start):
        held = shard.get(name)
        bad = (message.shard, name) in damaged
        payload = b"" if bad else held.payload
        size += len(name) + len(held.head) + len(held.payload)
        if len(rows) == limit or (rows and size > PULL_BYTES_MAX):
            return Pulled(rows, name), b"".join(payloads)
        rows.append(_pulled(name, held, DAMAGED if bad else len(payload)))
        payloads.append(payload)
    return Pulled(rows, b""), b"".join(payloads)


def _pulled(name: bytes, held: Held, payload_bytes: int) -> PulledRow:
    state = held.state
    return PulledRow(
        name,
        state.version,
        state.promised,
        list(state.earlier),
        held.flags,
        held.size,
        held.head,
        payload_bytes,
    )


def leaves(shard: Shard) -> LeafDigests:
    """See types.Leaves."""
    return LeafDigests(leaf_digests(shard.versions()))


def versions(shard: Shard, message: Versions) -> VersionList:
    """See types.Versions."""
    wanted = set(message.leaves)
    found = [
        (name, version)
        for name, version in shard.versions()
        if name >= message.start and leaf_of(name) in wanted
    ]
    more = len(found) > VERSIONS_ROWS_MAX
    return VersionList(found[:VERSIONS_ROWS_MAX], found[VERSIONS_ROWS_MAX][0] if more else b"")


def forget(shard: Shard, message: Forget, corrupt: set[tuple[bytes, bytes]]) -> None:
    """See types.Forget. corrupt: shards and names of rows whose payloads are bad."""
    for name, version in message.rows:
        bad = (message.shard, name) in corrupt
        if shard.forgets(name, version, message.before_ns, bad=bad):
            shard.remove(name)
            corrupt.discard((message.shard, name))


def changed(shard: Shard, message: Changed, now_ns: int) -> Changes:
    """See types.Changed."""
    log = shard.changes
    names = log.since(message.since) if log is not None else None
    if log is None or log.overflown:
        log = shard.changes = ChangeLog(now_ns.to_bytes(8, "big"))
    rows = [(name, shard.get(name).state.version) for name in names or ()]
    return Changes(rows, log.cursor, names is not None, shard.sealed)


def clear(shard: Shard, message: Clear) -> None:
    """See types.Clear."""
    for name, version in message.rows:
        if shard.sealed and name != SEAL_NAME and shard.get(name).state.version == version:
            shard.remove(name)
