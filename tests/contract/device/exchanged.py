"""What the tests of messages between replicas ask again and again."""

from storage.digests import leaf_of, row_digest
from storage.types import (
    LEAVES,
    ZERO_STAMP,
    ZERO_VERSION,
    Forget,
    LeafDigests,
    ListShards,
    PartitionSummary,
    Pull,
    Pulled,
    PulledRow,
    ShardList,
    ShardSummary,
    Summarize,
    Summary,
    VersionList,
    Versions,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import NAME, SHARD, plain

SALT = 0x9E3779B97F4A7C15
LONG_AGO_NS = 8 * 86_400 * 10**9
"""Ages beyond any reclaim age: tombstones that many nanoseconds ago are old."""

HOUR_NS = 3600 * 10**9


def pulled(
    version: bytes = ZERO_VERSION,
    name: bytes = NAME,
    payload_bytes: int = 0,
    *,
    promised: bytes = ZERO_STAMP,
    earlier: tuple[bytes, ...] = (),
    flags: int = 0,
    head: bytes = b"head",
    size: int = 3,
) -> PulledRow:
    """A row as another replica gives it."""
    return PulledRow(name, version, promised, list(earlier), flags, size, head, payload_bytes)


async def pull_all(
    rig: Rig, shard: bytes = SHARD, limit: int = 1000
) -> dict[bytes, tuple[PulledRow, bytes]]:
    """All rows of a shard, with their payloads."""
    rows: dict[bytes, tuple[PulledRow, bytes]] = {}
    start, more = b"", True
    while more:
        answer, payload = await rig.ask(Pull(shard, start, limit))
        assert isinstance(answer, Pulled)
        at = 0
        for row in answer.rows:
            size = max(0, row.payload_bytes)
            assert row.name not in rows
            rows[row.name] = row, bytes(payload[at : at + size])
            at += size
        assert at == len(payload)
        start, more = answer.next_start, answer.next_start != b""
    assert list(rows) == sorted(rows)
    return rows


async def summaries(rig: Rig, power: int = 0, salt: int = SALT) -> list[PartitionSummary]:
    """All partitions that hold anything."""
    answer = await rig.answer_to(Summarize(salt, power, 0, 1 << power))
    assert isinstance(answer, Summary)
    return answer.partitions


async def shards(rig: Rig, power: int = 0, partition: int = 0) -> list[ShardSummary]:
    """The shards of a partition."""
    answer = await rig.answer_to(ListShards(SALT, power, partition))
    assert isinstance(answer, ShardList)
    assert not answer.more
    return answer.shards


async def digest_of(rig: Rig, shard: bytes = SHARD) -> int:
    """A shard's digest, 0 where it is not there."""
    return next((found.digest for found in await shards(rig) if found.key == shard), 0)


def digest_by_hand(rows: dict[bytes, bytes]) -> int:
    """The digest of versions by name."""
    digest = 0
    for name, version in rows.items():
        digest ^= row_digest(name, version)
    return digest


async def leaves(rig: Rig, message: object) -> list[int]:
    """The digests in an answer to Leaves."""
    answer = await rig.answer_to(message)  # type: ignore[arg-type]
    assert isinstance(answer, LeafDigests)
    assert len(answer.digests) == LEAVES
    return answer.digests


async def versions(rig: Rig, wanted: list[int], start: bytes = b"") -> VersionList:
    """The versions in some leaves."""
    answer = await rig.answer_to(Versions(SHARD, wanted, start))
    assert isinstance(answer, VersionList)
    return answer


def leaves_by_hand(rows: dict[bytes, bytes]) -> list[int]:
    """Leaf digests of versions by name."""
    found = [0] * LEAVES
    for name, version in rows.items():
        found[leaf_of(name)] ^= row_digest(name, version)
    return found


def old(number: int) -> bytes:
    """The version of a plain write long ago."""
    return plain(number - LONG_AGO_NS)


def forget(rig: Rig, *rows: tuple[bytes, bytes]) -> Forget:
    """Reclaim these, if they are over two hours old."""
    return Forget(SHARD, list(rows), rig.clock.now_ns() - 2 * HOUR_NS)
