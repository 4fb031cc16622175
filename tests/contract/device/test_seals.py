"""The seal row: while it stands, nothing else of the shard changes."""

from storage.types import (
    SEAL_NAME,
    ZERO_VERSION,
    Count,
    Counts,
    Ok,
    Page,
    Read,
    Row,
    Scan,
    Sealed,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import (
    NAME,
    SHARD,
    accept,
    prepare,
    tombstone,
    update,
    write,
)

S = 1_000_000


async def seal(rig: Rig, number: int) -> None:
    assert await rig.answer_to(write(number, SEAL_NAME), b"why") == Ok()


async def test_a_sealed_shard_takes_no_write_of_any_kind(rig: Rig) -> None:
    await rig.ask(write(S), b"before")
    await seal(rig, 2 * S)
    assert await rig.answer_to(write(3 * S), b"after") == Sealed()
    assert await rig.answer_to(write(3 * S, b"other")) == Sealed()
    assert await rig.answer_to(tombstone(3 * S)) == Sealed()
    assert await rig.answer_to(prepare(3 * S)) == Sealed()
    assert await rig.answer_to(accept(update(S, 3 * S))) == Sealed()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"before"
    assert isinstance(row, Row)
    assert row.sealed


async def test_what_a_sealed_shard_holds_can_still_be_confirmed(rig: Rig) -> None:
    """A reader of a sealed shard confirms rows; where they are held that writes nothing."""
    await rig.ask(write(S))
    await rig.ask(accept(update(S, 2 * S), b"conditional"))
    await seal(rig, 3 * S)
    assert await rig.answer_to(write(S)) == Ok()
    assert await rig.answer_to(accept(update(S, 2 * S), b"conditional")) == Ok()


async def test_all_answers_about_a_sealed_shard_say_so(rig: Rig) -> None:
    await rig.ask(write(S))
    for sealed in (False, True):
        if sealed:
            await seal(rig, 2 * S)
        row = await rig.answer_to(Read(SHARD, b"none"))
        page = await rig.answer_to(Scan(SHARD, b"", b"", 10))
        counts = await rig.answer_to(Count(SHARD))
        assert row == Row(ZERO_VERSION, sealed=sealed)
        assert isinstance(page, Page)
        assert page.sealed is sealed
        assert counts == Counts(1, 3, sealed)


async def test_the_seal_is_a_row_like_others(rig: Rig) -> None:
    """It is set conditionally, read, and lifted by its tombstone."""
    assert await rig.answer_to(prepare(S, SEAL_NAME)) == Row(ZERO_VERSION)
    assert await rig.answer_to(accept(update(0, S), SEAL_NAME), b"why") == Ok()
    assert await rig.answer_to(write(2 * S)) == Sealed()
    row, payload = await rig.ask(Read(SHARD, SEAL_NAME))
    assert row == Row(update(0, S), 0, 3, b"head", sealed=True)
    assert bytes(payload) == b"why"
    assert isinstance(await rig.answer_to(prepare(2 * S, SEAL_NAME)), Row)
    assert await rig.answer_to(tombstone(3 * S, SEAL_NAME)) == Ok()
    assert await rig.answer_to(write(4 * S)) == Ok()


async def test_a_promise_alone_does_not_seal(rig: Rig) -> None:
    await rig.ask(prepare(S, SEAL_NAME))
    assert await rig.answer_to(write(2 * S)) == Ok()


async def test_a_seal_is_of_one_shard(rig: Rig) -> None:
    await seal(rig, S)
    assert await rig.answer_to(write(2 * S, shard=b"another")) == Ok()


async def test_the_seal_is_neither_listed_nor_counted(rig: Rig) -> None:
    await seal(rig, S)
    page = await rig.answer_to(Scan(SHARD, b"", b"", 10))
    assert isinstance(page, Page)
    assert page.rows == []
    assert await rig.answer_to(Count(SHARD)) == Counts(0, 0, sealed=True)
