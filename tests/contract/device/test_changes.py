"""Changed and Clear: what a replica tells while its rows are copied, and what goes afterwards."""

from storage.types import (
    FORGET_ROWS_MAX,
    SEAL_NAME,
    ZERO_VERSION,
    Changed,
    Changes,
    Clear,
    Count,
    Counts,
    Failed,
    Fault,
    Ok,
    Read,
    Row,
    RowFlag,
    Sealed,
    Write,
)
from tests.contract.device.exchanged import pull_all
from tests.contract.device.rigs import Rig
from tests.contract.device.words import NAME, SHARD, accept, plain, tombstone, update, write

S = 1_000_000
OTHER = b"other"


async def changes(rig: Rig, since: bytes = b"") -> Changes:
    answer = await rig.answer_to(Changed(SHARD, since))
    assert isinstance(answer, Changes)
    return answer


async def test_what_changed_since_is_told_as_it_is_now(rig: Rig) -> None:
    await rig.ask(write(S))
    begun = await changes(rig)
    assert not begun.complete
    assert begun.rows == []
    await rig.ask(write(2 * S))
    await rig.ask(accept(update(2 * S, 3 * S)))
    await rig.ask(tombstone(S, OTHER))
    told = await changes(rig, begun.cursor)
    assert told.complete
    assert sorted(told.rows) == [(OTHER, plain(S)), (NAME, update(2 * S, 3 * S))]
    assert not told.sealed
    await rig.ask(write(4 * S, OTHER))
    later = await changes(rig, told.cursor)
    assert (later.rows, later.complete) == ([(OTHER, plain(4 * S))], True)
    assert (await changes(rig, later.cursor)).rows == []


async def test_a_repeated_question_gets_the_same_answer(rig: Rig) -> None:
    begun = await changes(rig)
    await rig.ask(write(S))
    first = await changes(rig, begun.cursor)
    assert await changes(rig, begun.cursor) == first


async def test_a_cursor_that_is_not_known_is_no_answer(rig: Rig) -> None:
    begun = await changes(rig)
    await rig.ask(write(S))
    for unknown in (b"", b"x", b"0123456789abcdef", bytes(32)):
        assert not (await changes(rig, unknown)).complete
    middle = await changes(rig, begun.cursor)
    await changes(rig, middle.cursor)
    assert not (await changes(rig, begun.cursor)).complete  # fetched and forgotten


async def test_a_refused_write_changes_nothing_and_the_seal_is_told(rig: Rig) -> None:
    begun = await changes(rig)
    await rig.ask(write(S, SEAL_NAME))
    assert await rig.answer_to(write(S)) == Sealed()
    told = await changes(rig, begun.cursor)
    assert told.rows == [(SEAL_NAME, plain(S))]
    assert told.sealed
    assert told.complete


async def test_rows_of_a_sealed_shard_are_cleared_and_the_seal_stays(rig: Rig) -> None:
    await rig.ask(Write(SHARD, NAME, plain(S), RowFlag.BLOBS | RowFlag.MANIFEST, 3, b"h"), b"manifest")
    await rig.ask(tombstone(S, OTHER))
    await rig.ask(write(S, b"newer"))
    await rig.ask(write(2 * S, SEAL_NAME))
    rows = [(NAME, plain(S)), (OTHER, plain(S)), (b"newer", plain(S - 1)), (SEAL_NAME, plain(2 * S))]
    assert await rig.answer_to(Clear(SHARD, rows)) == Ok()
    assert sorted(await pull_all(rig)) == [SEAL_NAME, b"newer"]
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3, sealed=True)
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION, sealed=True)
    assert await rig.answer_to(write(3 * S)) == Sealed()
    assert await rig.device.list_garbage(0, 10) == []


async def test_an_open_shard_is_not_cleared(rig: Rig) -> None:
    await rig.ask(write(S))
    assert await rig.answer_to(Clear(SHARD, [(NAME, plain(S))])) == Ok()
    await rig.ask(write(2 * S, SEAL_NAME))
    await rig.ask(write(3 * S, SEAL_NAME, flags=RowFlag.TOMBSTONE))
    assert await rig.answer_to(Clear(SHARD, [(NAME, plain(S))])) == Ok()
    assert NAME in await pull_all(rig)


async def test_what_exceeds_its_limits_is_refused(rig: Rig) -> None:
    for message in (
        Clear(SHARD, [(NAME, plain(S))] * (FORGET_ROWS_MAX + 1)),
        Clear(SHARD, [(NAME, plain(S)[1:])]),
        Clear(bytes(65), []),
        Changed(bytes(65)),
        Changed(SHARD, bytes(33)),
    ):
        answer = await rig.answer_to(message)
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.TOO_LARGE
