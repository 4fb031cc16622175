"""The engine's pages against the rule that all replicas share (storage/paging.py)."""

from hypothesis import given
from hypothesis import strategies as st

from storage.device.held import Held, encode_value
from storage.device.page import (
    build_page,
    indexed_rows,
    merged_rows,
    name_range,
    prefix_end,
    recent_rows,
)
from storage.device.shards import Shard
from storage.paging import cut_page, first_name
from storage.replica import RowState
from storage.types import SEAL_NAME, ZERO_VERSION, RowFlag, Scan, ScannedRow

NAMES = st.binary(max_size=3) | st.sampled_from([b"a/b", b"a/", b"a/\xff", b"b\xff\xff"])
FLAGS = st.sampled_from([0, 0, int(RowFlag.TOMBSTONE), int(RowFlag.BLOBS)])
VERSIONS = st.sampled_from([ZERO_VERSION]) | st.binary(min_size=32, max_size=32)
STATES = st.builds(
    lambda version, flags, head: Held(RowState(version), flags, 7, head, 1, 2, 3, 4),
    VERSIONS,
    FLAGS,
    st.binary(max_size=4),
)
ROWS = st.dictionaries(NAMES, STATES, max_size=12)
BOUNDS = NAMES | st.just(b"")


@given(ROWS, ROWS, ROWS, BOUNDS, BOUNDS, BOUNDS, st.integers(0, 6), st.booleans())
def test_a_page_is_what_the_rule_says(
    indexed: dict[bytes, Held],
    frozen: dict[bytes, Held],
    active: dict[bytes, Held],
    start: bytes,
    end: bytes,
    prefix: bytes,
    limit: int,
    digest_only: bool,
) -> None:
    scan = Scan(b"s", start, end, limit, digest_only, prefix)
    shard = Shard(b"s")
    shard.active.by_name.update(frozen)
    if frozen:
        shard.freeze()
    shard.active.by_name.update(active)
    low, high = name_range(scan)
    items = [
        (shard.prefix + name, encode_value(shard.prefix + name, held))
        for name, held in sorted(indexed.items())
        if low <= name and (not high or name < high)
    ]
    empty = bool(high) and high <= low
    rows = merged_rows(indexed_rows(len(shard.prefix), iter(items)), recent_rows(shard, low, high))
    page = build_page(() if empty else rows, scan, sealed=True)

    model = {**indexed, **frozen, **active}
    rule = (
        ScannedRow(name, held.state.version, held.flags, held.size, held.head)
        for name, held in sorted(model.items())
        if name >= first_name(scan) and held.state.version != ZERO_VERSION
    )
    assert page == cut_page(rule, scan, sealed=True)
    assert all(row.name != SEAL_NAME for row in page.rows)


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_a_prefix_ends_where_its_names_end(prefix: bytes, name: bytes) -> None:
    end = prefix_end(prefix)
    assert name.startswith(prefix) == (name >= prefix and (not end or name < end))
