"""Pull and Install: how a newcomer gets to know what the replicas before it know."""

import asyncio

import pytest

from storage.replica import RowState, merged, on_install, on_write
from storage.types import (
    DAMAGED,
    INLINE_MAX_BYTES,
    PULL_BYTES_MAX,
    PULL_ROWS_MAX,
    ROW_PAYLOAD_MAX_BYTES,
    SEAL_NAME,
    ZERO_STAMP,
    ZERO_VERSION,
    Count,
    Counts,
    Failed,
    Fault,
    Install,
    Installed,
    No,
    Ok,
    Prepare,
    Pull,
    Pulled,
    PulledRow,
    Read,
    Row,
    RowFlag,
    Sealed,
    Write,
)
from tests.contract.device.exchanged import digest_by_hand, digest_of, pull_all, pulled
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


async def test_a_pull_gives_everything(rig: Rig) -> None:
    for number in range(1, 6):
        await rig.ask(write(number * S), b"payload %d" % number)
    await rig.ask(prepare(7 * S))
    await rig.ask(tombstone(2 * S, b"gone"))
    await rig.ask(prepare(8 * S, b"promised"))
    await rig.ask(write(9 * S, SEAL_NAME, flags=RowFlag.UNCOUNTED, size=0), b"why")
    rows = await pull_all(rig)
    assert list(rows) == [SEAL_NAME, b"gone", NAME, b"promised"]
    earlier = [plain(number * S) for number in range(2, 5)]
    assert rows[NAME] == (
        PulledRow(NAME, plain(5 * S), stamp(7 * S), earlier, 0, 3, b"head", 9),
        b"payload 5",
    )
    gone = PulledRow(b"gone", plain(2 * S), ZERO_STAMP, [], RowFlag.TOMBSTONE, 0, b"", 0)
    assert rows[b"gone"] == (gone, b"")
    assert rows[b"promised"] == (pulled(name=b"promised", promised=stamp(8 * S), head=b"", size=0), b"")
    assert rows[SEAL_NAME][1] == b"why"


async def test_a_pull_comes_in_parts(rig: Rig) -> None:
    names = [b"%03d" % number for number in range(25)]
    for number, name in enumerate(names):
        await rig.ask(write(number * S, name), b"p" * number)
    for limit in (1, 7, 25, 10**6):
        rows = await pull_all(rig, limit=limit)
        assert list(rows) == names
        assert [len(payload) for _, payload in rows.values()] == list(range(25))
    answer, _ = await rig.ask(Pull(SHARD, b"010", 5))
    assert isinstance(answer, Pulled)
    assert [row.name for row in answer.rows] == names[10:15]
    assert answer.next_start == b"015"
    answer, _ = await rig.ask(Pull(SHARD, b"", 0))
    assert isinstance(answer, Pulled)
    assert len(answer.rows) == 1
    assert await rig.ask(Pull(b"no such shard", b"", 10)) == (Pulled([], b""), b"")


async def test_a_pull_is_bounded_by_its_bytes(rig: Rig) -> None:
    for number in range(5):
        await rig.ask(write(number * S, b"%d" % number), bytes([number]) * (PULL_BYTES_MAX // 3))
    await rig.ask(write(9 * S, b"large"), b"x" * ROW_PAYLOAD_MAX_BYTES)
    answer, payload = await rig.ask(Pull(SHARD, b"", PULL_ROWS_MAX))
    assert isinstance(answer, Pulled)
    assert 0 < len(payload) <= PULL_BYTES_MAX
    rows = await pull_all(rig)
    assert [len(payload) for _, payload in rows.values()] == [PULL_BYTES_MAX // 3] * 5 + [
        ROW_PAYLOAD_MAX_BYTES
    ]


async def test_a_pull_knows_what_was_decided_just_before(rig: Rig) -> None:
    """An Ok that is still on its way must not be missed by who pulls now."""
    writing = asyncio.ensure_future(rig.ask(write(S), b"payload"))
    await asyncio.sleep(0)
    rows = await pull_all(rig)
    assert await writing == (Ok(), b"")
    assert rows[NAME][0].version == plain(S)


async def test_a_damaged_payload_is_pulled_without_its_bytes(rig: Rig) -> None:
    await rig.ask(write(S, b"a"), b"a sound payload")
    await rig.ask(write(2 * S, b"b"), b"a payload to be damaged")
    await rig.ask(write(3 * S, b"c"), b"another sound one")
    rig.misfortunes.damage_row(SHARD, b"b", b"a payload to be damaged")
    rows = await pull_all(rig)
    assert rows[b"b"] == (pulled(plain(2 * S), b"b", DAMAGED), b"")
    assert rows[b"a"][1] == b"a sound payload"
    assert rows[b"c"][1] == b"another sound one"


async def test_what_is_installed_is_as_if_it_had_been_written(rig: Rig) -> None:
    earlier = tuple(plain(number * S) for number in (1, 2, 3))
    row = pulled(update(4 * S, 6 * S), promised=stamp(6 * S), earlier=earlier, payload_bytes=5)
    gone = pulled(plain(S), b"gone", flags=RowFlag.TOMBSTONE, head=b"", size=0)
    only = pulled(name=b"promised", promised=stamp(7 * S), head=b"", size=0)
    assert await rig.answer_to(Install(SHARD, [gone, row, only]), b"bytes") == Installed([])
    assert await rig.ask(Read(SHARD, NAME)) == (Row(update(4 * S, 6 * S), 0, 3, b"head"), b"bytes")
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3)
    assert await rig.answer_to(prepare(6 * S)) == No(stamp(6 * S), never_held=False)
    assert await rig.answer_to(prepare(7 * S, b"promised")) == No(stamp(7 * S), never_held=False)
    assert await rig.answer_to(write(2 * S)) == Ok()  # held by whom it was pulled from
    assert await rig.answer_to(write(S)) == Ok()
    early = Write(SHARD, NAME, plain(S // 2), 0, 3, b"")
    assert await rig.answer_to(early) == No(stamp(6 * S), never_held=False)
    rows = await pull_all(rig)
    assert [rows[name][0] for name in (b"gone", NAME, b"promised")] == [gone, row, only]
    assert await digest_of(rig) == digest_by_hand({NAME: update(4 * S, 6 * S), b"gone": plain(S)})


async def test_installing_again_changes_nothing(rig: Rig) -> None:
    install = Install(SHARD, [pulled(plain(2 * S), payload_bytes=3, earlier=(plain(S),))])
    assert await rig.answer_to(install, b"one") == Installed([])
    before = await pull_all(rig)
    assert await rig.answer_to(install, b"one") == Installed([])
    assert await pull_all(rig) == before


async def test_the_higher_version_and_the_higher_promise_win(rig: Rig) -> None:
    await rig.ask(write(3 * S), b"mine")
    await rig.ask(prepare(5 * S))
    older = pulled(plain(2 * S), payload_bytes=6, promised=stamp(9 * S))
    assert await rig.answer_to(Install(SHARD, [older]), b"theirs") == Installed([])
    assert await rig.ask(Read(SHARD, NAME)) == (Row(plain(3 * S), 0, 3, b"head"), b"mine")
    assert await rig.answer_to(prepare(8 * S)) == No(stamp(9 * S), never_held=False)
    assert await rig.answer_to(write(2 * S)) == Ok()  # the other replica has held it
    newer = pulled(plain(4 * S), payload_bytes=6, promised=stamp(S))
    assert await rig.answer_to(Install(SHARD, [newer]), b"theirs") == Installed([])
    row, payload = (await pull_all(rig))[NAME]
    assert (row.version, row.promised, payload) == (plain(4 * S), stamp(9 * S), b"theirs")
    assert row.earlier == [plain(2 * S), plain(3 * S)]


async def test_what_one_of_two_sources_may_have_held_is_never_surely_not_held(rig: Rig) -> None:
    """Both hold the same version, but one history does not reach back: nor does the merged one."""
    complete = pulled(plain(9 * S))
    forgetful = pulled(plain(9 * S), earlier=(plain(6 * S), plain(7 * S), plain(8 * S)))
    for first, second in ((complete, forgetful), (forgetful, complete)):
        shard = b"by order %d" % (first is complete)
        assert await rig.answer_to(Install(shard, [first])) == Installed([])
        assert await rig.answer_to(Install(shard, [second])) == Installed([])
        late = Write(shard, NAME, plain(S), 0, 0, b"")
        assert await rig.answer_to(late) == No(stamp(9 * S), never_held=False)
        late = Write(shard, NAME, plain(7 * S), 0, 0, b"")
        assert await rig.answer_to(late) == Ok()


async def test_a_conditional_version_below_a_promise_is_not_taken(rig: Rig) -> None:
    """It would count as a vote for its ballot: it must be decided anew first."""
    sound = pulled(plain(S), b"sound")
    await rig.ask(prepare(5 * S, b"promised here"))
    here = pulled(update(2 * S, 3 * S), b"promised here", promised=stamp(3 * S))
    there = pulled(update(2 * S, 3 * S), b"promised there", promised=stamp(4 * S))
    answer = await rig.answer_to(Install(SHARD, [here, sound, there]))
    assert answer == Installed([b"promised here", b"promised there"])
    rows = await pull_all(rig)
    assert rows[b"sound"][0].version == plain(S)
    for name, promise in ((b"promised here", 5 * S), (b"promised there", 4 * S)):
        assert (rows[name][0].version, rows[name][0].promised) == (ZERO_VERSION, stamp(promise))


async def test_a_sealed_shards_row_is_taken_whatever_was_promised(rig: Rig) -> None:
    """Nothing is decided there any more; the seal itself still is."""
    await rig.ask(prepare(5 * S))
    await rig.ask(prepare(5 * S, SEAL_NAME))
    row = pulled(update(2 * S, 3 * S), promised=stamp(4 * S))
    assert await rig.answer_to(Install(SHARD, [row])) == Installed([NAME])
    seal = pulled(update(2 * S, 3 * S), SEAL_NAME)
    assert await rig.answer_to(Install(SHARD, [seal])) == Installed([SEAL_NAME])
    await rig.ask(write(9 * S, SEAL_NAME, flags=RowFlag.UNCOUNTED, size=0), b"why")
    assert await rig.answer_to(Install(SHARD, [row])) == Installed([])
    held = (await pull_all(rig))[NAME][0]
    assert (held.version, held.promised) == (update(2 * S, 3 * S), stamp(5 * S))


def test_histories_of_several_reach_back_no_further_than_each() -> None:
    v = [plain(number * S) for number in range(10)]
    one = RowState(v[5], stamp(1), (v[1], v[3]))
    two = RowState(v[4], stamp(2), (v[2],))
    assert merged([one, two]) == merged([two, one]) == RowState(v[5], stamp(2), (v[2], v[3], v[4]))
    assert merged([one, one]) == one
    full = RowState(v[9], ZERO_STAMP, (v[6], v[7], v[8]))
    assert merged([full, one]).earlier == (v[6], v[7], v[8])
    assert merged([RowState(v[9], ZERO_STAMP, ()), full]) == full
    narrow = RowState(v[9], ZERO_STAMP, tuple(update(2 * S, n) for n in range(1, 4)))
    installed = on_install(RowState(v[8], ZERO_STAMP, ()), narrow).state
    assert installed is not None
    for state in (merged([narrow, one]), installed):
        answer = on_write(state, v[1]).answer
        assert isinstance(answer, No)
        assert not answer.never_held
    assert on_install(installed, narrow).state is None
    assert merged([installed, installed]) == installed


def test_a_newer_row_of_its_own_does_not_hide_what_others_held() -> None:
    """What others held a reader may have seen: a writer that asks must not begin anew."""
    v = [plain(number * S) for number in range(10)]
    state = on_install(RowState(v[9]), RowState(v[5], ZERO_STAMP, (v[2], v[3], v[4]))).state
    assert state is not None
    assert state.version == v[9]
    assert on_write(state, v[1]).answer == No(stamp(9 * S), never_held=False)
    assert on_write(state, v[4]).answer == Ok()


async def test_seals_do_not_keep_a_newcomer_from_learning(rig: Rig) -> None:
    """The seal comes first; what lies behind it was written before."""
    seal = pulled(plain(5 * S), SEAL_NAME, flags=RowFlag.UNCOUNTED)
    assert await rig.answer_to(Install(SHARD, [seal])) == Installed([])
    assert await rig.answer_to(write(6 * S)) == Sealed()
    assert await rig.answer_to(Install(SHARD, [pulled(plain(S), payload_bytes=1)]), b"x") == Installed(
        []
    )
    row, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert (row.version, row.sealed, payload) == (plain(S), True, b"x")
    lifted = pulled(plain(7 * S), SEAL_NAME, flags=RowFlag.TOMBSTONE)
    assert await rig.answer_to(Install(SHARD, [lifted])) == Installed([])
    assert await rig.answer_to(write(8 * S)) == Ok()


async def test_an_installed_row_that_replaces_blobs_leaves_a_hint(rig: Rig) -> None:
    await rig.ask(write(S, flags=RowFlag.BLOBS), b"manifest")
    assert await rig.answer_to(Install(SHARD, [pulled(plain(2 * S))])) == Installed([])
    (hint,) = await rig.device.list_garbage(0, 10)
    assert (hint.version, hint.manifest) == (plain(S), b"manifest")


async def test_an_installed_copy_heals_a_damaged_one(rig: Rig) -> None:
    await rig.ask(write(S), b"a payload to be damaged")
    rig.misfortunes.damage_row(SHARD, NAME, b"a payload to be damaged")
    failed = await rig.answer_to(Read(SHARD, NAME))
    assert isinstance(failed, Failed)
    good = pulled(plain(S), payload_bytes=23)
    assert await rig.answer_to(Install(SHARD, [good]), b"a payload to be damaged") == Installed([])
    assert await rig.ask(Read(SHARD, NAME)) == (
        Row(plain(S), 0, 3, b"head"),
        b"a payload to be damaged",
    )


async def test_a_full_device_installs_nothing(rig: Rig) -> None:
    rig.misfortunes.fill()
    refused = await rig.answer_to(Install(SHARD, [pulled(plain(S), payload_bytes=1)]), b"x")
    assert isinstance(refused, Failed)
    assert refused.fault == Fault.FULL
    rig.misfortunes.make_room()
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)


async def test_writes_go_on_over_what_was_installed(rig: Rig) -> None:
    await rig.ask(Install(SHARD, [pulled(plain(2 * S), promised=stamp(3 * S))]))
    assert await rig.answer_to(write(4 * S), b"newer") == Ok()
    assert isinstance(await rig.answer_to(Prepare(SHARD, NAME, stamp(5 * S))), Row)
    assert await rig.answer_to(accept(update(4 * S, 5 * S))) == Ok()


@pytest.mark.parametrize(
    ("row", "payload"),
    [
        (pulled(plain(S), payload_bytes=4), b"123"),
        (pulled(plain(S), payload_bytes=DAMAGED), b""),
        (pulled(plain(S)[:-1]), b""),
        (pulled(plain(S), promised=b"x"), b""),
        (pulled(plain(S), earlier=(b"x",)), b""),
        (pulled(plain(5 * S), earlier=tuple(plain(n * S) for n in range(1, 5))), b""),
        (pulled(plain(S), bytes(2049)), b""),
        (pulled(plain(S), head=bytes(INLINE_MAX_BYTES + 1)), b""),
        (pulled(plain(S), flags=256), b""),
        (pulled(plain(S), size=-1), b""),
    ],
)
async def test_rows_that_can_not_be_are_refused(rig: Rig, row: PulledRow, payload: bytes) -> None:
    """Whole: nothing of the message is installed."""
    sound = pulled(plain(S), b"sound")
    answer = await rig.answer_to(Install(SHARD, [sound, row]), payload)
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.TOO_LARGE
    assert await pull_all(rig) == {}


async def test_too_many_rows_at_once_are_refused(rig: Rig) -> None:
    rows = [pulled(plain(S), b"%d" % number) for number in range(PULL_ROWS_MAX + 1)]
    answer = await rig.answer_to(Install(SHARD, rows))
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.TOO_LARGE
