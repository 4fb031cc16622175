"""Forget and Drop: what takes rows away for good."""

import asyncio

import pytest

from storage.types import (
    FORGET_ROWS_MAX,
    SEAL_NAME,
    ZERO_VERSION,
    Count,
    Counts,
    Drop,
    Failed,
    Fault,
    Forget,
    Ok,
    Page,
    Read,
    Row,
    RowFlag,
    RowMessage,
    Scan,
    Write,
)
from tests.contract.device.exchanged import (
    HOUR_NS,
    LONG_AGO_NS,
    digest_by_hand,
    digest_of,
    forget,
    old,
    pull_all,
    shards,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import NAME, SHARD, accept, plain, prepare, stamp, update, write

S = 1_000_000
GONE = RowFlag.TOMBSTONE
PAYLOAD = b"payload that will be damaged"


def old_tombstone(number: int, name: bytes = NAME, flags: int = GONE) -> Write:
    return Write(SHARD, name, old(number), flags, 0, b"")


async def test_an_old_tombstone_is_forgotten(rig: Rig) -> None:
    await rig.ask(write(S, b"stays"))
    await rig.ask(old_tombstone(S))
    assert await rig.answer_to(forget(rig, (NAME, old(S)))) == Ok()
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)
    assert list(await pull_all(rig)) == [b"stays"]
    assert await digest_of(rig) == digest_by_hand({b"stays": plain(S)})
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3)
    page = await rig.answer_to(Scan(SHARD, b"", b"", 10))
    assert isinstance(page, Page)
    assert [row.name for row in page.rows] == [b"stays"]


async def test_an_old_row_that_can_not_be_read_is_forgotten(rig: Rig) -> None:
    for name in (NAME, b"sound"):
        await rig.answer_to(Write(SHARD, name, old(S), 0, 5, b""), PAYLOAD)
    assert await rig.answer_to(forget(rig, (NAME, old(S)))) == Ok()
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(old(S), 0, 5)
    rig.misfortunes.damage_row(SHARD, NAME, PAYLOAD)
    assert await rig.answer_to(Read(SHARD, NAME)) != Row(old(S), 0, 5)
    assert await rig.answer_to(forget(rig, (NAME, old(S)), (b"sound", old(S)))) == Ok()
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)
    assert list(await pull_all(rig)) == [b"sound"]


async def test_a_shard_of_which_nothing_is_left_is_not_listed(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    await rig.ask(forget(rig, (NAME, old(S))))
    assert await shards(rig) == []
    assert await rig.answer_to(forget(rig, (NAME, old(S)))) == Ok()


async def test_a_forgotten_row_begins_anew(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    await rig.ask(forget(rig, (NAME, old(S))))
    assert await rig.answer_to(write(S), b"again") == Ok()
    assert await rig.ask(Read(SHARD, NAME)) == (Row(plain(S), 0, 3, b"head"), b"again")
    assert (await pull_all(rig))[NAME][0].earlier == []
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3)


async def test_what_is_not_just_that_tombstone_stays(rig: Rig) -> None:
    await rig.ask(Write(SHARD, b"live", old(S), 0, 3, b""), b"abc")
    await rig.ask(old_tombstone(2 * S, b"newer"))
    await rig.ask(Write(SHARD, b"young", plain(-HOUR_NS), GONE, 0, b""))
    await rig.ask(old_tombstone(S, b"promised"))
    await rig.ask(prepare(S, b"promised"))
    await rig.ask(accept(old(S)[:16] + stamp(S), b"decided", flags=GONE))
    before = await pull_all(rig)
    asked = [
        (b"live", old(S)),
        (b"newer", old(S)),
        (b"young", plain(-HOUR_NS)),
        (b"promised", old(S)),
        (b"decided", old(S)[:16] + stamp(S)),
        (b"absent", old(S)),
        (b"absent", ZERO_VERSION),
    ]
    assert await rig.answer_to(forget(rig, *asked)) == Ok()
    assert await pull_all(rig) == before


async def test_a_row_that_is_being_written_is_not_forgotten(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    writing = asyncio.ensure_future(rig.ask(write(S), b"new"))
    await asyncio.sleep(0)
    assert await rig.answer_to(forget(rig, (NAME, old(S)))) == Ok()
    assert await writing == (Ok(), b"")
    assert await rig.ask(Read(SHARD, NAME)) == (Row(plain(S), 0, 3, b"head"), b"new")


async def test_a_write_right_behind_a_forget_is_kept(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    asked: list[RowMessage] = [
        forget(rig, (NAME, old(S))),
        forget(rig, (NAME, old(S))),
        write(S),
        forget(rig, (NAME, old(S))),
    ]
    answers = await asyncio.gather(*(rig.answer_to(message) for message in asked))
    assert answers == [Ok()] * 4
    assert list(await pull_all(rig)) == [NAME]
    assert await digest_of(rig) == digest_by_hand({NAME: plain(S)})


async def test_forgetting_a_tombstone_keeps_the_hints_of_what_it_replaced(rig: Rig) -> None:
    await rig.ask(Write(SHARD, NAME, old(S), RowFlag.BLOBS, 3, b""), b"manifest")
    await rig.ask(old_tombstone(2 * S))
    await rig.ask(forget(rig, (NAME, old(2 * S))))
    (hint,) = await rig.device.list_garbage(0, 10)
    assert hint.manifest == b"manifest"


async def test_lifted_seals_are_forgotten_like_others(rig: Rig) -> None:
    await rig.ask(Write(SHARD, SEAL_NAME, old(S), RowFlag.UNCOUNTED, 0, b""))
    await rig.ask(old_tombstone(2 * S, SEAL_NAME))
    assert await rig.answer_to(forget(rig, (SEAL_NAME, old(2 * S)))) == Ok()
    assert await shards(rig) == []
    assert await rig.answer_to(write(S)) == Ok()


async def test_a_full_device_forgets(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    rig.misfortunes.run_low()
    assert await rig.answer_to(forget(rig, (NAME, old(S)))) == Ok()
    assert await shards(rig) == []


async def test_a_forget_beyond_its_limits_is_refused(rig: Rig) -> None:
    await rig.ask(old_tombstone(S))
    long_ago = rig.clock.now_ns() - LONG_AGO_NS
    for message in (
        Forget(SHARD, [(NAME, old(S))], rig.clock.now_ns() - HOUR_NS // 2),
        Forget(SHARD, [(NAME, old(S))] * (FORGET_ROWS_MAX + 1), long_ago),
        Forget(SHARD, [(NAME, old(S)[1:])], long_ago),
        Forget(SHARD, [(bytes(2049), old(S))], long_ago),
        Forget(bytes(65), [], long_ago),
    ):
        answer = await rig.answer_to(message)
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.TOO_LARGE
    assert list(await pull_all(rig)) == [NAME]


async def test_a_dropped_shard_is_gone_and_others_stay(rig: Rig) -> None:
    for number in range(700):
        await rig.ask(write(S, b"%d" % number), b"payload")
    await rig.ask(prepare(2 * S, b"promised"))
    await rig.ask(write(3 * S, SEAL_NAME, flags=RowFlag.UNCOUNTED))
    await rig.ask(write(S, shard=SHARD + b"x"), b"other")
    assert await rig.answer_to(Drop(SHARD)) == Ok()
    assert [shard.key for shard in await shards(rig)] == [SHARD + b"x"]
    assert await pull_all(rig) == {}
    assert await rig.answer_to(Count(SHARD)) == Counts(0, 0)
    assert await rig.answer_to(Read(SHARD, b"7")) == Row(ZERO_VERSION)
    assert await rig.ask(Read(SHARD + b"x", NAME)) == (Row(plain(S), 0, 3, b"head"), b"other")
    assert await rig.answer_to(Drop(SHARD)) == Ok()
    assert await rig.answer_to(Drop(b"never there")) == Ok()


async def test_a_dropped_shard_can_begin_anew(rig: Rig) -> None:
    """The device may become a newcomer there again."""
    await rig.ask(write(9 * S), b"before")
    await rig.ask(write(9 * S, SEAL_NAME, flags=RowFlag.UNCOUNTED))
    assert await rig.answer_to(Drop(SHARD)) == Ok()
    assert await rig.answer_to(write(S), b"after") == Ok()
    assert await rig.ask(Read(SHARD, NAME)) == (Row(plain(S), 0, 3, b"head"), b"after")
    assert isinstance(await rig.answer_to(prepare(2 * S)), Row)
    assert await rig.answer_to(accept(update(S, 2 * S)), b"then") == Ok()
    assert await digest_of(rig) == digest_by_hand({NAME: update(S, 2 * S)})


@pytest.mark.parametrize("drops", [1, 3])
async def test_a_drop_right_behind_writes_takes_them_too(rig: Rig, drops: int) -> None:
    asked = [rig.answer_to(write(number * S, b"%d" % number)) for number in range(20)]
    asked += [rig.answer_to(Drop(SHARD)) for _ in range(drops)]
    assert await asyncio.gather(*asked) == [Ok()] * (20 + drops)
    assert await pull_all(rig) == {}


async def test_dropping_rows_makes_no_garbage_and_keeps_old_hints(rig: Rig) -> None:
    """The rows live on elsewhere: nothing was replaced."""
    await rig.ask(write(S, flags=RowFlag.BLOBS), b"old manifest")
    await rig.ask(write(2 * S, flags=RowFlag.BLOBS), b"new manifest")
    assert await rig.answer_to(Drop(SHARD)) == Ok()
    (hint,) = await rig.device.list_garbage(0, 10)
    assert hint.manifest == b"old manifest"
