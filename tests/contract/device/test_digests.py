"""Digests, counts and versions: what replicas compare."""

import asyncio

import pytest
import xxhash

from storage.types import (
    LEAVES,
    SEAL_NAME,
    SUMMARY_PARTITIONS_MAX,
    VERSIONS_ROWS_MAX,
    Drop,
    Failed,
    Fault,
    Leaves,
    ListShards,
    Ok,
    PartitionSummary,
    RowFlag,
    RowMessage,
    ShardList,
    Summarize,
    Summary,
    Versions,
    Write,
)
from tests.contract.device.exchanged import (
    SALT,
    digest_by_hand,
    digest_of,
    leaves,
    leaves_by_hand,
    shards,
    summaries,
    versions,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import SHARD, accept, plain, prepare, tombstone, update, write

S = 1_000_000


async def test_an_empty_device_has_nothing_to_compare(rig: Rig) -> None:
    assert await summaries(rig, power=4) == []
    assert await shards(rig) == []
    assert await leaves(rig, Leaves(SHARD)) == [0] * LEAVES
    assert (await versions(rig, [0, 255])).rows == []


async def test_the_digest_is_of_names_and_versions(rig: Rig) -> None:
    """Tombstones and the seal row count, promises and values do not."""
    await rig.ask(write(S, b"a", size=7), b"one")
    await rig.ask(write(S, b"b", size=9), b"another")
    await rig.ask(tombstone(2 * S, b"b"))
    await rig.ask(prepare(5 * S, b"c"))
    await rig.ask(accept(update(S, 3 * S), b"a"))
    await rig.ask(write(4 * S, SEAL_NAME, flags=RowFlag.UNCOUNTED))
    rows = {b"a": update(S, 3 * S), b"b": plain(2 * S), SEAL_NAME: plain(4 * S)}
    (found,) = await shards(rig)
    assert found.digest == digest_by_hand(rows)
    assert (found.key, found.rows, found.live, found.size_bytes) == (SHARD, 4, 1, 3)
    assert found.sealed
    (partition,) = await summaries(rig)
    assert (partition.partition, partition.digest) == (0, found.digest)
    assert (partition.rows, partition.live, partition.size_bytes) == (4, 1, 3)


async def test_what_was_written_by_another_order_has_the_same_digest(rig: Rig) -> None:
    await rig.ask(write(3 * S, b"a"))
    await rig.ask(write(2 * S, b"a"))
    await rig.ask(write(S, b"b"))
    before = await digest_of(rig)
    assert before == digest_by_hand({b"a": plain(3 * S), b"b": plain(S)})
    await rig.ask(write(4 * S, b"a"))
    assert await digest_of(rig) == digest_by_hand({b"a": plain(4 * S), b"b": plain(S)}) != before


async def test_shards_are_found_in_their_partitions(rig: Rig) -> None:
    keys = [b"shard/%d" % number for number in range(40)]
    for number, key in enumerate(keys):
        await rig.ask(write(number * S, b"n", size=number, shard=key))
    power = 3
    places = {key: xxhash.xxh3_64_intdigest(key, SALT) for key in keys}
    for partition in range(1 << power):
        found = await shards(rig, power, partition)
        here = [key for key in keys if places[key] >> (64 - power) == partition]
        assert [shard.key for shard in found] == sorted(here)
    sums = await summaries(rig, power)
    for one in sums:
        inside = [n for n, key in enumerate(keys) if places[key] >> (64 - power) == one.partition]
        assert (one.live, one.size_bytes) == (len(inside), sum(inside))
        assert one.digest == digest_by_hand_of_many(inside)
    assert sum(one.live for one in sums) == len(keys)


def digest_by_hand_of_many(numbers: list[int]) -> int:
    digest = 0
    for number in numbers:
        digest ^= digest_by_hand({b"n": plain(number * S)})
    return digest


async def test_a_part_of_the_partitions_can_be_asked_for(rig: Rig) -> None:
    for number in range(30):
        await rig.ask(write(S, b"n", shard=b"shard/%d" % number))
    whole = await summaries(rig, power=5)
    parts: list[PartitionSummary] = []
    for first in range(0, 32, 8):
        answer = await rig.answer_to(Summarize(SALT, 5, first, 8))
        assert isinstance(answer, Summary)
        parts += answer.partitions
    assert parts == whole
    assert [found.partition for found in whole] == sorted({found.partition for found in whole})
    assert await rig.answer_to(ListShards(SALT, 0, 0, b"shard/5")) == ShardList(
        [shard for shard in await shards(rig) if shard.key > b"shard/5"]
    )


async def test_another_salt_is_another_order(rig: Rig) -> None:
    """Not that there ever are two: but an answer is of the salt that was asked for."""
    for number in range(20):
        await rig.ask(write(S, b"n", shard=b"shard/%d" % number))
        await summaries(rig, power=4, salt=number % 3)
    for salt in (0, 1, 2**64 - 1):
        found = {one.partition for one in await summaries(rig, power=6, salt=salt)}
        keys = [b"shard/%d" % number for number in range(20)]
        assert found == {xxhash.xxh3_64_intdigest(key, salt) >> 58 for key in keys}


async def test_shards_that_come_and_go_keep_their_places(rig: Rig) -> None:
    for number in range(12):
        await rig.ask(write(S, b"n", shard=b"shard/%d" % number))
        await summaries(rig, power=4)
        if number % 3 == 0:
            assert await rig.answer_to(Drop(b"shard/%d" % number)) == Ok()
    left = [b"shard/%d" % number for number in range(12) if number % 3]
    assert [shard.key for shard in await shards(rig)] == sorted(left)
    assert sum(found.live for found in await summaries(rig, power=4)) == len(left)


async def test_leaves_are_by_the_hash_of_the_name(rig: Rig) -> None:
    rows = {b"name/%d" % number: plain(number * S) for number in range(1, 600)}
    for name, version in rows.items():
        await rig.ask(Write(SHARD, name, version, 0, 0, b""))
    await rig.ask(prepare(9999 * S, b"promised only"))
    found = await leaves(rig, Leaves(SHARD))
    assert found == leaves_by_hand(rows)
    whole = await versions(rig, list(range(LEAVES)))
    assert whole.rows == sorted(rows.items())
    assert whole.next_start == b""
    one = await versions(rig, [7, 9])
    assert one.rows == [
        row for row in sorted(rows.items()) if xxhash.xxh3_64_intdigest(row[0]) & 255 in {7, 9}
    ]
    assert one.rows
    later = await versions(rig, list(range(LEAVES)), b"name/5")
    assert later.rows == [row for row in sorted(rows.items()) if row[0] >= b"name/5"]


async def test_many_versions_come_in_pages(rig: Rig) -> None:
    count = VERSIONS_ROWS_MAX + 500
    for at in range(0, count, 1000):
        numbers = range(at, min(at + 1000, count))
        await asyncio.gather(*(rig.ask(write(S + n, b"%06d" % n)) for n in numbers))
    first = await versions(rig, list(range(LEAVES)))
    assert len(first.rows) == VERSIONS_ROWS_MAX
    assert first.next_start == b"%06d" % VERSIONS_ROWS_MAX
    rest = await versions(rig, list(range(LEAVES)), first.next_start)
    assert [name for name, _ in first.rows + rest.rows] == [b"%06d" % n for n in range(count)]
    assert rest.next_start == b""
    assert await digest_of(rig) == digest_by_hand(dict(first.rows + rest.rows))


@pytest.mark.parametrize(
    "message",
    [
        Summarize(SALT, 33, 0, 1),
        Summarize(SALT, -1, 0, 1),
        Summarize(2**64 - 1, 4, 10, 7),
        Summarize(SALT, 4, -1, 1),
        Summarize(SALT, 20, 0, SUMMARY_PARTITIONS_MAX + 1),
        ListShards(SALT, 4, 16),
        ListShards(SALT, 4, -1),
        Leaves(bytes(65)),
        Versions(SHARD, [256]),
        Versions(SHARD, [-1]),
        Versions(SHARD, [0] * 257),
        Versions(SHARD, [0], bytes(2050)),
        Drop(bytes(65)),
    ],
    ids=repr,
)
async def test_questions_beyond_their_limits_are_refused(rig: Rig, message: RowMessage) -> None:
    answer = await rig.answer_to(message)
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.TOO_LARGE
