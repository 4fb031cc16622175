"""Listings against `sorted()`: any names, any bounds, any page size, replicas that lag behind."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import Unavailable
from proxy.core.listing import Successors, list_rows
from proxy.core.register import Value, tombstone
from proxy.core.seals import Seals
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import Layout
from proxy.core.types import ListQuery, SealHead
from storage.types import NAME_MAX_BYTES, Page, Read, RowAnswer, RowMessage, Scan, ScannedRow
from tests.property.core.world import World, run

ID = b"i" * 16
LETTERS = "ab/\x01é\U0001f600\U0010ffff"
WORDS = st.text(LETTERS, min_size=1, max_size=5)
NAMES = st.one_of(WORDS, WORDS.map(lambda word: "a/b" + word), WORDS.map(lambda word: "é" * 20 + word))
BOUND = st.one_of(st.just(""), NAMES, st.text(LETTERS, max_size=2))
DELIMITER = st.sampled_from(["", "/", "b", "/b", "é", "\U0010ffff", "a/", "//"])

# A step writes or deletes a name while one replica of its shard, or none, is away.
STEPS = st.lists(st.tuples(NAMES, st.booleans(), st.integers(0, 3)), max_size=40)

QUERIES = st.builds(
    ListQuery,
    prefix=BOUND,
    delimiter=DELIMITER,
    marker=BOUND,
    end_marker=BOUND,
    limit=st.integers(1, 12),
    reverse=st.booleans(),
)


def expected(names: set[str], query: ListQuery) -> Iterator[str]:
    """The whole listing that the pages of `query` must add up to."""
    low, high = (query.end_marker, query.marker) if query.reverse else (query.marker, query.end_marker)
    prefix, delimiter = query.prefix.encode(), query.delimiter.encode()
    shown: list[bytes] = []
    for name in sorted(name.encode() for name in names):
        if not name.startswith(prefix) or name <= low.encode() or (high and name >= high.encode()):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = name if cut < 0 else name[: cut + len(delimiter)]
        if entry > low.encode() and entry not in shown:
            shown.append(entry)
    ordered = reversed(shown) if query.reverse else iter(shown)
    return (name.decode() for name in ordered)


async def pages(
    scan: ShardScan, shards: list[bytes], query: ListQuery, successors: Successors | None = None
) -> list[list[str]]:
    """All pages, each with its names."""
    found = []
    while True:
        page = await list_rows(scan, shards, query, decode, successors=successors)
        found.append(
            [entry if isinstance(entry, str) else str(entry.name, "utf-8") for entry in page.entries]
        )
        if not page.next_marker:
            return found
        query = ListQuery(
            query.prefix,
            query.delimiter,
            page.next_marker,
            query.end_marker,
            query.limit,
            query.reverse,
        )


def decode(row: ScannedRow) -> ScannedRow | None:
    return row


async def fill(
    world: World, steps: list[tuple[str, bool, int]], shards: int
) -> tuple[ShardScan, set[str]]:
    store = world.proxy()
    names: set[str] = set()
    for number, (name, there, away) in enumerate(steps):
        raw = name.encode()
        shard = Layout(ID, 0, shards).shard_of(raw)
        replicas = world.row_devices(shard)
        if away < 3:
            world.wires[0][replicas[away]].cut()
        value = Value(0, number, b"%d" % number, b"") if there else tombstone()
        await store.rows.write(shard, raw, value)
        if away < 3:
            world.wires[0][replicas[away]].cut(False)
        (names.add if there else names.discard)(name)
    return ShardScan(store.rows), names


@settings(max_examples=300, deadline=None)
@given(STEPS, st.lists(QUERIES, min_size=1, max_size=6), st.sampled_from([1, 2, 4, 8]))
def test_pages_add_up_to_the_whole_listing(
    steps: list[tuple[str, bool, int]], queries: list[ListQuery], shards: int
) -> None:
    async def scene() -> None:
        world = World(delay_max_s=0.0)
        scan, names = await fill(world, steps, shards)
        for query in queries:
            whole = list(expected(names, query))
            found = await pages(scan, Layout(ID, 0, shards).all_shards(), query)
            assert [name for page in found for name in page] == whole
            assert all(len(page) == query.limit for page in found[:-1])
            assert found[-1] or not whole

    run(scene())


@settings(max_examples=200, deadline=None)
@given(STEPS, STEPS, QUERIES, st.sampled_from([1, 2, 4]), st.integers(1, 4))
def test_pages_add_up_to_the_whole_listing_though_shards_have_moved_on(
    steps: list[tuple[str, bool, int]],
    later: list[tuple[str, bool, int]],
    query: ListQuery,
    shards: int,
    moved: int,
) -> None:
    """Who lists began by an older row of the container; what was written later is in the new shards."""

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        scan, names = await fill(world, steps, shards)
        old, new = Layout(ID, 0, shards), Layout(ID, 0, shards, min(moved, shards))
        rows = world.proxy().rows
        for name in names:
            await rows.write(new.shard_of(name.encode()), name.encode(), Value(0, 0, b"", b""))
        for name, there, _ in later:
            value = Value(0, 0, b"", b"") if there else tombstone()
            await rows.write(new.shard_of(name.encode()), name.encode(), value)
            (names.add if there else names.discard)(name)
        for number in range(new.moved):
            await Seals(rows).set(old.key(number), SealHead(1, b"n" * 16, "", "c", b"c"))

        async def successors(shard: bytes) -> list[bytes]:
            return new.successors(shard)

        found = await pages(scan, old.all_shards(), query, successors)
        assert [name for page in found for name in page] == list(expected(names, query))

    run(scene())


def _word(rnd: random.Random) -> str:
    return "".join(rnd.choices(LETTERS, k=rnd.randint(1, 4)))


@pytest.mark.parametrize("seed", range(40))
def test_pages_of_many_names_add_up_to_the_whole_listing(seed: int) -> None:
    """Each shard has several pages, and what replicas lack of them differs."""
    rnd = random.Random(seed)
    pool = [rnd.choice(["", "a/", "a/b/", "\U0010ffff"]) + _word(rnd) for _ in range(200)]
    steps = [(rnd.choice(pool), rnd.random() < 0.8, rnd.randint(0, 6)) for _ in range(400)]
    queries = [
        ListQuery(
            rnd.choice(["", "", "a/", "a"]),
            rnd.choice(["", "/", "b"]),
            rnd.choice(["", rnd.choice(pool)]),
            rnd.choice(["", "", rnd.choice(pool)]),
            rnd.choice([1, 3, 20]),
            rnd.random() < 0.3,
        )
        for _ in range(4)
    ]

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        shards = rnd.choice([1, 2, 4, 8])
        scan, names = await fill(world, steps, shards)
        for query in queries:
            found = await pages(scan, Layout(ID, 0, shards).all_shards(), query)
            assert [name for page in found for name in page] == list(expected(names, query))

    run(scene())


@settings(max_examples=60, deadline=None)
@given(STEPS, QUERIES, st.integers(0, 5), st.booleans())
def test_a_listing_does_without_any_one_device_and_soon(
    steps: list[tuple[str, bool, int]], query: ListQuery, lost: int, silent: bool
) -> None:
    """Whether it refuses, or says nothing at all."""

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        scan, names = await fill(world, steps, 4)

        def lose(device_id: int, message: RowMessage | RowAnswer, _arrive: object) -> bool:
            return device_id == lost and type(message) in (Page, Scan)

        if silent:
            world.links[0].script = lose
        else:
            world.wires[0][lost].cut()
        begun = asyncio.get_running_loop().time()
        found = await pages(scan, Layout(ID, 0, 4).all_shards(), query)
        assert [name for page in found for name in page] == list(expected(names, query))
        assert asyncio.get_running_loop().time() - begun <= 2.0 * len(found)

    run(scene())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["prefix", "marker", "end_marker"]), st.booleans(), st.integers(1, 40))
def test_bounds_longer_than_any_name_are_bounds_like_others(
    field: str, reverse: bool, beyond: int
) -> None:
    async def scene() -> None:
        world = World(delay_max_s=0.0)
        steps = [(name, True, 3) for name in ("a", "b", "b" * 1024, "c")]
        scan, names = await fill(world, steps, 4)
        bound = "b" * (NAME_MAX_BYTES + beyond)
        fields = {"prefix": "", "marker": "", "end_marker": "", field: bound}
        query = ListQuery(**fields, reverse=reverse)  # type: ignore[arg-type]
        found = await pages(scan, Layout(ID, 0, 4).all_shards(), query)
        assert [name for page in found for name in page] == list(expected(names, query))

    run(scene())


def test_a_page_ends_where_the_least_of_the_replicas_ends() -> None:
    """Pages are cut by their bytes; the first replica lacks some rows, so its page gets further."""

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        store = world.proxy()
        (shard,) = Layout(ID, 0, 1).all_shards()
        names = [f"{number:03d}" for number in range(200)]
        for number, name in enumerate(names):
            first = world.wires[0][world.row_devices(shard)[0]]
            first.cut(number % 3 == 1)
            await store.rows.write(shard, name.encode(), Value(0, 0, bytes(60_000), b""))
            first.cut(False)
        found = await pages(ShardScan(store.rows), [shard], ListQuery(limit=1000))
        assert [name for page in found for name in page] == names

    run(scene())


def test_what_one_listing_has_shown_the_next_one_shows() -> None:
    """A row that one replica has alone is confirmed before it is shown."""

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        store = world.proxy()
        (shard,) = Layout(ID, 0, 1).all_shards()
        first, second, third = world.row_devices(shard)
        wires = world.wires[0]
        for device in (second, third):
            wires[device].cut()
        with pytest.raises(Unavailable):
            await store.rows.write(shard, b"o", Value(0, 0, b"", b""))
        for device in (second, third):
            wires[device].cut(False)
        scan = ShardScan(store.rows)
        wires[third].cut()
        shown = await pages(scan, [shard], ListQuery())
        wires[third].cut(False)
        wires[first].cut()
        assert await pages(scan, [shard], ListQuery()) == shown == [["o"]]

    run(scene())


def test_a_row_that_a_majority_has_never_seen_is_not_shown() -> None:
    """A write got to one replica alone, which gives its page and then says nothing of the row."""

    async def scene() -> None:
        world = World(delay_max_s=0.0)
        store = world.proxy()
        (shard,) = Layout(ID, 0, 1).all_shards()
        first, second, third = world.row_devices(shard)
        await store.rows.write(shard, b"n", Value(0, 0, b"", b""))
        for device in (second, third):
            world.wires[0][device].cut()
        with pytest.raises(Unavailable):
            await store.rows.write(shard, b"o", Value(0, 0, b"", b""))
        for device in (second, third):
            world.wires[0][device].cut(False)

        def silent(device_id: int, message: RowMessage | RowAnswer, _arrive: object) -> bool:
            return device_id == first and type(message) is Read

        world.links[0].script = silent
        assert await pages(ShardScan(store.rows), [shard], ListQuery()) == [["n"]]

    run(scene())
