"""A table with changes laid over it reads like the table after the changes."""

from hypothesis import given
from hypothesis import strategies as st

from storage.device.index_contract import Table, guard
from storage.device.index_memory import MemoryIndex, empty_tables
from storage.device.overlay import Overlay

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
VALUES = st.none() | st.sampled_from([b"1", b"2"])


@given(
    st.dictionaries(KEYS, st.just(b"0")),
    st.lists(st.tuples(KEYS, VALUES), max_size=6),
    st.lists(st.tuples(KEYS, VALUES), max_size=6),
    KEYS,
    st.integers(-1, 6),
)
def test_it_reads_like_the_table_after_the_changes(
    indexed: dict[bytes, bytes],
    frozen: list[tuple[bytes, bytes | None]],
    active: list[tuple[bytes, bytes | None]],
    start: bytes,
    limit: int,
) -> None:
    tables = empty_tables()
    tables[Table.BLOBS] = {key: guard(key, value) for key, value in indexed.items()}
    overlay = Overlay(Table.BLOBS, MemoryIndex(tables))
    model: dict[bytes, bytes | None] = dict(indexed)
    for key, value in frozen:
        overlay.put(key, value)
        model[key] = value
    overlay.freeze()
    for key, value in active:
        overlay.put(key, value)
        model[key] = value
    present = {key: value for key, value in model.items() if value is not None}
    after = [(key, value) for key, value in sorted(present.items()) if key >= start]
    assert overlay.first(start, limit) == after[: max(0, limit)]
    assert all(overlay.get(key) == present.get(key) for key in (b"a", b"b", b"c", b"d", b"e"))
    assert overlay.dirty == bool(active)
    kept, gone = overlay.frozen()
    last = dict(frozen)
    assert [key for key, _ in kept] == sorted(key for key, value in last.items() if value)
    assert sorted(gone) == sorted(key for key, value in last.items() if value is None)
