"""Listings against `sorted()`: any names, any bounds, any page size, replicas that lag behind."""

import asyncio
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.listing import list_rows
from proxy.core.register import Value, tombstone
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import object_shard, object_shard_keys
from proxy.core.types import ListQuery
from storage.types import NAME_MAX_BYTES, Page, RowAnswer, RowMessage, Scan, ScannedRow
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


async def pages(scan: ShardScan, shards: list[bytes], query: ListQuery) -> list[list[str]]:
    """All pages, each with its names."""
    found = []
    while True:
        page = await list_rows(scan, shards, query, decode)
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
        shard = object_shard(ID, shards, raw)
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
            found = await pages(scan, object_shard_keys(ID, shards), query)
            assert [name for page in found for name in page] == whole
            assert all(len(page) == query.limit for page in found[:-1])
            assert found[-1] or not whole

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
        found = await pages(scan, object_shard_keys(ID, 4), query)
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
        found = await pages(scan, object_shard_keys(ID, 4), query)
        assert [name for page in found for name in page] == list(expected(names, query))

    run(scene())
