"""Scans, their digests, and the counts of a shard."""

import pytest
import xxhash

from storage.paging import PAGE_MAX_BYTES, page_digest
from storage.types import (
    HEAD_MAX_BYTES,
    SCAN_ROWS_MAX,
    Count,
    Counts,
    Ok,
    Page,
    RowFlag,
    Scan,
    ScannedRow,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import (
    SHARD,
    accept,
    plain,
    prepare,
    tombstone,
    update,
    write,
)

S = 1_000_000


async def scan(
    rig: Rig,
    start: bytes = b"",
    end: bytes = b"",
    limit: int = 1000,
    *,
    digest_only: bool = False,
    prefix: bytes = b"",
) -> Page:
    page = await rig.answer_to(Scan(SHARD, start, end, limit, digest_only, prefix))
    assert isinstance(page, Page)
    return page


def names(page: Page) -> list[bytes]:
    return [row.name for row in page.rows]


async def fill(rig: Rig, *rows: bytes) -> None:
    for row in rows:
        assert await rig.answer_to(write(S, row)) == Ok()


async def test_an_empty_shard_is_an_empty_page(rig: Rig) -> None:
    page = await scan(rig)
    assert (page.rows, page.covered_to, page.sealed) == ([], b"", False)
    assert page.digest == page_digest([], b"")


async def test_rows_come_whole_and_in_byte_order(rig: Rig) -> None:
    await fill(rig, b"b", b"\xff", b"a/b", b"a", b"a\x00", b"B", "ü".encode(), b"a/b/c")
    page = await scan(rig)
    assert names(page) == sorted(names(page))
    assert len(page.rows) == 8
    assert page.rows[1] == ScannedRow(b"a", plain(S), 0, 3, b"head")
    assert page.covered_to == b""


async def test_start_is_included_and_end_is_not(rig: Rig) -> None:
    await fill(rig, b"a", b"b", b"c", b"d")
    assert names(await scan(rig, b"b")) == [b"b", b"c", b"d"]
    assert names(await scan(rig, b"b", b"d")) == [b"b", b"c"]
    assert names(await scan(rig, b"b\x00", b"c\x00")) == [b"c"]
    assert names(await scan(rig, b"d", b"b")) == []


async def test_a_prefix_bounds_both_ends(rig: Rig) -> None:
    await fill(rig, b"a", b"b", b"b/1", b"b/2", b"b0", b"c")
    assert names(await scan(rig, prefix=b"b/")) == [b"b/1", b"b/2"]
    assert names(await scan(rig, b"b/1\x00", prefix=b"b/")) == [b"b/2"]
    assert names(await scan(rig, b"c", prefix=b"b")) == []
    assert names(await scan(rig, b"", b"b/2", prefix=b"b")) == [b"b", b"b/1"]


async def test_a_prefix_of_the_highest_bytes_has_no_end(rig: Rig) -> None:
    await fill(rig, b"\xfe", b"\xff\xff", b"\xff\xff\x01")
    assert names(await scan(rig, prefix=b"\xff\xff")) == [b"\xff\xff", b"\xff\xff\x01"]


async def test_the_limit_counts_live_rows_and_tombstones_come_along(rig: Rig) -> None:
    await fill(rig, b"a", b"c", b"e", b"f")
    for name in (b"b", b"d"):
        assert await rig.answer_to(tombstone(2 * S, name)) == Ok()
    page = await scan(rig, limit=2)
    assert names(page) == [b"a", b"b", b"c"]
    assert page.rows[1].flags == RowFlag.TOMBSTONE
    assert page.covered_to == b"c\x00"
    page = await scan(rig, page.covered_to, limit=2)
    assert names(page) == [b"d", b"e", b"f"]


async def test_uncounted_rows_are_live(rig: Rig) -> None:
    await rig.ask(write(S, b"a", flags=RowFlag.UNCOUNTED))
    await rig.ask(write(S, b"b"))
    assert names(await scan(rig, limit=1)) == [b"a"]


async def test_pages_follow_each_other_without_gap_or_overlap(rig: Rig) -> None:
    wanted = [f"{number:04}".encode() for number in range(100)]
    await fill(rig, *wanted)
    seen: list[bytes] = []
    start = b""
    while True:
        page = await scan(rig, start, limit=7)
        seen += names(page)
        if not page.covered_to:
            break
        assert page.covered_to > start
        start = page.covered_to
    assert seen == wanted


async def test_a_page_stops_at_so_many_rows_altogether(rig: Rig) -> None:
    for number in range(SCAN_ROWS_MAX + 1):
        rig.device.send(tombstone(S, f"{number:06}".encode()), b"", rig.deadline(60), lambda *_: None)
        if number % 500 == 0:
            await rig.answer_to(write(S + number, b"x"))  # the last of those before it, too
    page = await scan(rig)
    assert len(page.rows) == SCAN_ROWS_MAX
    assert page.covered_to == page.rows[-1].name + b"\x00"


async def test_a_page_stops_at_so_many_bytes(rig: Rig) -> None:
    head = bytes(HEAD_MAX_BYTES)
    fitting = PAGE_MAX_BYTES // HEAD_MAX_BYTES
    for number in range(fitting + 2):
        await rig.ask(write(S, f"{number:06}".encode(), head=head))
    page = await scan(rig)
    assert len(page.rows) == fitting
    assert page.covered_to == page.rows[-1].name + b"\x00"


async def test_a_digest_is_of_the_covered_rows_and_says_what_is_covered(rig: Rig) -> None:
    await fill(rig, b"a", b"b", b"c")
    whole = await scan(rig, limit=2)
    digest = await scan(rig, limit=2, digest_only=True)
    assert digest.rows == []
    assert (digest.digest, digest.covered_to) == (whole.digest, b"b\x00")
    assert whole.digest == page_digest(whole.rows, b"b\x00")


async def test_a_digest_is_what_its_formula_says(rig: Rig) -> None:
    await fill(rig, b"a", b"bc")
    told = b"\x01\0\0\0a" + plain(S) + b"\x02\0\0\0bc" + plain(S)
    assert (await scan(rig)).digest == xxhash.xxh3_64_intdigest(told)
    assert (await scan(rig, limit=2)).digest == xxhash.xxh3_64_intdigest(told + b"bc\0")


@pytest.mark.parametrize("change", ["write", "tombstone", "update", "new"])
async def test_a_digest_changes_with_any_row_it_covers(rig: Rig, change: str) -> None:
    await fill(rig, b"a", b"b")
    before = (await scan(rig, digest_only=True)).digest
    match change:
        case "write":
            await rig.ask(write(2 * S, b"a"))
        case "tombstone":
            await rig.ask(tombstone(2 * S, b"a"))
        case "update":
            await rig.ask(accept(update(S, 2 * S), b"a"))
        case _:
            await rig.ask(write(S, b"aa"))
    assert (await scan(rig, digest_only=True)).digest != before


async def test_a_promise_is_not_a_row(rig: Rig) -> None:
    await fill(rig, b"a")
    before = await scan(rig)
    await rig.ask(prepare(2 * S, b"b"))
    await rig.ask(prepare(2 * S, b"a"))
    assert await scan(rig) == before


async def test_a_limit_below_one_is_one(rig: Rig) -> None:
    await fill(rig, b"a", b"b")
    page = await scan(rig, limit=0)
    assert names(page) == [b"a"]
    assert page.covered_to == b"a\x00"


# -- counts ------------------------------------------------------------------------------------


async def test_counts_follow_the_live_counted_rows(rig: Rig) -> None:
    assert await rig.answer_to(Count(SHARD)) == Counts(0, 0)
    await rig.ask(write(S, b"a", size=10))
    await rig.ask(write(S, b"b", size=20))
    await rig.ask(write(S, b"upload", size=40, flags=RowFlag.UNCOUNTED))
    await rig.ask(write(S, b"other", size=80, shard=b"another"))
    assert await rig.answer_to(Count(SHARD)) == Counts(2, 30)
    await rig.ask(write(2 * S, b"a", size=11))
    assert await rig.answer_to(Count(SHARD)) == Counts(2, 31)
    await rig.ask(write(2 * S, b"a", size=99))  # repeated: nothing changes
    await rig.ask(write(S, b"a", size=99))  # late: nothing changes
    assert await rig.answer_to(Count(SHARD)) == Counts(2, 31)
    await rig.ask(tombstone(3 * S, b"b"))
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 11)
    await rig.ask(write(4 * S, b"b", size=5))
    await rig.ask(accept(update(2 * S, 5 * S), b"a"))
    assert await rig.answer_to(Count(SHARD)) == Counts(2, 8)


async def test_promises_are_not_counted(rig: Rig) -> None:
    await rig.ask(prepare(S, b"a"))
    assert await rig.answer_to(Count(SHARD)) == Counts(0, 0)
