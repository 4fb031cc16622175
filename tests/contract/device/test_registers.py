"""Plain and conditional writes of one row: the row protocol and its messages, sentence by sentence."""

import pytest

from storage.types import (
    HISTORY_VERSIONS,
    ZERO_VERSION,
    No,
    Ok,
    Read,
    Row,
    RowFlag,
    Want,
    Write,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import (
    NAME,
    SHARD,
    accept,
    plain,
    prepare,
    stamp,
    tombstone,
    update,
    write,
)

S = 1_000_000
"""Stamps this far apart leave room between them."""


async def test_a_row_that_was_never_written_is_an_empty_row(rig: Rig) -> None:
    answer, payload = await rig.ask(Read(SHARD, NAME))
    assert answer == Row(ZERO_VERSION)
    assert isinstance(answer, Row)
    assert not answer.live
    assert payload == b""


async def test_a_write_is_read_back_whole(rig: Rig) -> None:
    assert (
        await rig.answer_to(write(S, flags=RowFlag.UNCOUNTED, size=99, head=b"h" * 300), b"body")
        == Ok()
    )
    answer, payload = await rig.ask(Read(SHARD, NAME))
    assert answer == Row(plain(S), RowFlag.UNCOUNTED, 99, b"h" * 300)
    assert bytes(payload) == b"body"


async def test_a_reader_gets_no_more_than_it_wants(rig: Rig) -> None:
    await rig.ask(write(S), b"body")
    row, payload = await rig.ask(Read(SHARD, NAME, Want.VERSION))
    assert isinstance(row, Row)
    assert (row.version, row.head, payload) == (plain(S), b"", b"")
    row, payload = await rig.ask(Read(SHARD, NAME, Want.HEAD))
    assert isinstance(row, Row)
    assert (row.version, row.head, payload) == (plain(S), b"head", b"")


@pytest.mark.parametrize("size", [0, 1, 4096, 64 * 1024, 1024 * 1024])
async def test_payloads_of_any_size_come_back(rig: Rig, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert await rig.answer_to(write(S), body[:size]) == Ok()
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == body[:size]


async def test_names_are_bytes(rig: Rig) -> None:
    for name in (b"\x00", b"\xff\xfe", b"a/../b", "ü".encode(), b"a" * 2048):
        assert await rig.answer_to(write(S, name), name) == Ok()
    for name in (b"\x00", b"\xff\xfe", b"a/../b", "ü".encode(), b"a" * 2048):
        _, payload = await rig.ask(Read(SHARD, name))
        assert bytes(payload) == name


async def test_shards_do_not_share_rows(rig: Rig) -> None:
    await rig.ask(write(S, shard=b"one"), b"1")
    await rig.ask(write(2 * S, shard=b"two"), b"2")
    _, first = await rig.ask(Read(b"one", NAME))
    _, second = await rig.ask(Read(b"two", NAME))
    assert (bytes(first), bytes(second)) == (b"1", b"2")


async def test_a_later_stamp_replaces(rig: Rig) -> None:
    await rig.ask(write(S), b"old")
    assert await rig.answer_to(write(2 * S, head=b"new head"), b"new") == Ok()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert (row.version, row.head, bytes(payload)) == (plain(2 * S), b"new head", b"new")


async def test_an_earlier_stamp_is_refused_and_changes_nothing(rig: Rig) -> None:
    await rig.ask(write(2 * S), b"new")
    assert await rig.answer_to(write(S), b"old") == No(stamp(2 * S), never_held=True)
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"new"


async def test_stamps_of_one_instant_are_ordered_by_incarnation(rig: Rig) -> None:
    low, high = stamp(S, b"process1"), stamp(S, b"process2")
    ask = rig.answer_to
    assert await ask(Write(SHARD, NAME, high + bytes(16), 0, 0, b"")) == Ok()
    assert await ask(Write(SHARD, NAME, low + bytes(16), 0, 0, b"")) == No(high, never_held=True)


async def test_a_repeated_write_is_ok_and_stores_nothing_new(rig: Rig) -> None:
    await rig.ask(write(S), b"body")
    assert await rig.answer_to(write(S, head=b"other"), b"other") == Ok()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert (row.head, bytes(payload)) == (b"head", b"body")


async def test_a_version_that_was_replaced_counts_as_held(rig: Rig) -> None:
    await rig.ask(write(S))
    await rig.ask(write(2 * S))
    assert await rig.answer_to(write(S)) == Ok()
    row = await rig.answer_to(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert row.version == plain(2 * S)


async def test_history_remembers_so_many_versions_and_owns_up_to_the_rest(rig: Rig) -> None:
    newest = HISTORY_VERSIONS + 2
    for number in range(1, newest + 1):
        assert await rig.answer_to(write(number * S)) == Ok()
    for number in range(newest - HISTORY_VERSIONS + 1, newest + 1):
        assert await rig.answer_to(write(number * S)) == Ok()
    forgotten = newest - HISTORY_VERSIONS
    answer = await rig.answer_to(write(forgotten * S))
    assert answer == No(stamp(newest * S), never_held=False)


async def test_history_tells_what_was_surely_never_held(rig: Rig) -> None:
    for number in range(1, HISTORY_VERSIONS + 3):
        await rig.ask(write(2 * number * S))
    newest = 2 * (HISTORY_VERSIONS + 2)
    within = await rig.answer_to(write((newest - 1) * S))
    assert within == No(stamp(newest * S), never_held=True)
    before = await rig.answer_to(write(1))
    assert before == No(stamp(newest * S), never_held=False)


async def test_a_delete_is_a_row(rig: Rig) -> None:
    await rig.ask(write(S), b"body")
    assert await rig.answer_to(tombstone(2 * S)) == Ok()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert row == Row(plain(2 * S), RowFlag.TOMBSTONE, 0, b"")
    assert isinstance(row, Row)
    assert not row.live
    assert payload == b""
    assert await rig.answer_to(write(S), b"late") == Ok()  # held once
    assert await rig.answer_to(write(3 * S), b"again") == Ok()
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"again"


# -- conditional writes ------------------------------------------------------------------------


async def test_a_promise_gives_the_row_with_its_payload(rig: Rig) -> None:
    await rig.ask(write(S), b"body")
    answer, payload = await rig.ask(prepare(2 * S))
    assert answer == Row(plain(S), 0, 3, b"head")
    assert bytes(payload) == b"body"


async def test_a_promise_is_possible_where_there_is_no_row(rig: Rig) -> None:
    assert await rig.answer_to(prepare(S)) == Row(ZERO_VERSION)
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)


async def test_a_promise_binds_against_lower_and_equal_ballots(rig: Rig) -> None:
    await rig.ask(prepare(2 * S))
    assert await rig.answer_to(prepare(S)) == No(stamp(2 * S), never_held=False)
    assert await rig.answer_to(prepare(2 * S)) == No(stamp(2 * S), never_held=False)
    assert await rig.answer_to(prepare(3 * S)) == Row(ZERO_VERSION)


async def test_an_accept_stores_under_its_ballot(rig: Rig) -> None:
    await rig.ask(write(S), b"old")
    await rig.ask(prepare(2 * S))
    assert await rig.answer_to(accept(update(S, 2 * S)), b"new") == Ok()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert (row.version, bytes(payload)) == (update(S, 2 * S), b"new")


async def test_an_accept_creates_a_row_that_was_not_there(rig: Rig) -> None:
    await rig.ask(prepare(S))
    assert await rig.answer_to(accept(update(0, S)), b"created") == Ok()
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert row.live
    assert bytes(payload) == b"created"


async def test_an_accept_below_a_promise_is_refused(rig: Rig) -> None:
    await rig.ask(write(S), b"old")
    await rig.ask(prepare(3 * S))
    refused = await rig.answer_to(accept(update(S, 2 * S)), b"new")
    assert refused == No(stamp(3 * S), never_held=False)
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"old"


async def test_an_accept_over_a_newer_write_is_refused(rig: Rig) -> None:
    await rig.ask(write(S), b"old")
    await rig.ask(prepare(2 * S))
    await rig.ask(write(3 * S), b"newer")
    refused = await rig.answer_to(accept(update(S, 2 * S)), b"conditional")
    assert refused == No(stamp(3 * S), never_held=False)
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"newer"


async def test_an_accept_that_was_not_prepared_here_is_taken(rig: Rig) -> None:
    """A reader confirms a conditional write on a replica that missed both phases."""
    assert await rig.answer_to(accept(update(S, 2 * S)), b"confirmed") == Ok()
    row = await rig.answer_to(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert row.version == update(S, 2 * S)


async def test_a_repeated_accept_is_ok_even_after_it_was_replaced(rig: Rig) -> None:
    version = update(0, S)
    await rig.ask(prepare(S))
    assert await rig.answer_to(accept(version)) == Ok()
    assert await rig.answer_to(accept(version)) == Ok()
    await rig.ask(write(2 * S))
    assert await rig.answer_to(accept(version)) == Ok()
    row = await rig.answer_to(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert row.version == plain(2 * S)


async def test_an_accept_is_itself_a_promise(rig: Rig) -> None:
    await rig.ask(accept(update(S, 3 * S)))
    assert await rig.answer_to(prepare(2 * S)) == No(stamp(3 * S), never_held=False)
    refused = await rig.answer_to(accept(update(S, 2 * S)))
    assert refused == No(stamp(3 * S), never_held=False)


async def test_a_plain_write_does_not_look_at_promises(rig: Rig) -> None:
    await rig.ask(prepare(9 * S))
    assert await rig.answer_to(write(S), b"plain") == Ok()
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"plain"


async def test_a_plain_write_leaves_promises_in_force(rig: Rig) -> None:
    await rig.ask(prepare(9 * S))
    await rig.ask(write(S))
    assert await rig.answer_to(prepare(8 * S)) == No(stamp(9 * S), never_held=False)


async def test_a_plain_write_below_a_conditional_update_of_its_stamp_is_held(rig: Rig) -> None:
    """What was built on a stamp answers for it."""
    await rig.ask(accept(update(S, 2 * S)), b"conditional")
    assert await rig.answer_to(write(S), b"plain") == Ok()
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"conditional"


async def test_no_tells_the_highest_stamp_or_ballot_known(rig: Rig) -> None:
    await rig.ask(accept(update(2 * S, 5 * S)))
    assert await rig.answer_to(write(S)) == No(stamp(5 * S), never_held=True)
    await rig.ask(prepare(7 * S))
    assert await rig.answer_to(write(S)) == No(stamp(7 * S), never_held=True)
