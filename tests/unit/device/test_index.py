"""The index contract, kept by LMDB and by the in-memory twin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.device.held import IndexDamagedError
from storage.device.index import KEY_MAX_BYTES, open_lmdb, verify_lmdb
from storage.device.index_contract import Index, IndexFullError, Table, guard, unguard
from storage.device.index_memory import MemoryIndex

Open = Callable[[], Index]


@pytest.fixture(params=["lmdb", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """An empty index."""
    made: Index = open_lmdb(str(tmp_path)) if request.param == "lmdb" else MemoryIndex()
    yield made
    made.close()


def put(index: Index, *items: tuple[bytes, bytes], table: Table = Table.ROWS) -> None:
    """Commit and publish some pairs."""
    writer = index.begin()
    writer.put(table, items)
    writer.commit()
    index.publish()


def test_a_commit_is_seen_after_publish_and_not_before(index: Index) -> None:
    writer = index.begin()
    writer.put(Table.ROWS, [(b"a", b"1")])
    assert index.get(Table.ROWS, b"a") is None
    writer.commit()
    assert index.get(Table.ROWS, b"a") is None
    index.publish()
    assert index.get(Table.ROWS, b"a") == b"1"


def test_an_aborted_transaction_leaves_nothing(index: Index) -> None:
    writer = index.begin()
    writer.put(Table.ROWS, [(b"a", b"1")])
    writer.abort()
    writer.abort()
    index.publish()
    assert index.get(Table.ROWS, b"a") is None
    put(index, (b"b", b"2"))
    assert list(index.scan(Table.ROWS, b"", b"")) == [(b"b", b"2")]


def test_tables_are_apart(index: Index) -> None:
    put(index, (b"a", b"row"))
    put(index, (b"a", b"blob"), table=Table.BLOBS)
    assert index.get(Table.ROWS, b"a") == b"row"
    assert index.get(Table.BLOBS, b"a") == b"blob"
    assert index.get(Table.GARBAGE, b"a") is None


def test_a_scan_keeps_its_bounds(index: Index) -> None:
    put(index, *[(key, key) for key in (b"a", b"b", b"b\0", b"c", b"d")])
    assert [key for key, _ in index.scan(Table.ROWS, b"b", b"d")] == [b"b", b"b\0", b"c"]
    assert [key for key, _ in index.scan(Table.ROWS, b"bb", b"")] == [b"c", b"d"]
    assert list(index.scan(Table.ROWS, b"e", b"")) == []


def test_values_are_replaced_and_removed(index: Index) -> None:
    put(index, (b"a", b"1"), (b"b", b"2"))
    put(index, (b"a", b"3"))
    writer = index.begin()
    writer.remove(Table.ROWS, b"b")
    writer.remove(Table.ROWS, b"never")
    writer.commit()
    index.publish()
    assert list(index.scan(Table.ROWS, b"", b"")) == [(b"a", b"3")]


@pytest.mark.parametrize(
    "length", [KEY_MAX_BYTES - 1, KEY_MAX_BYTES, KEY_MAX_BYTES + 1, 1005, 1006, 1007, 1501, 2113]
)
def test_keys_longer_than_lmdbs_are_found_and_removed(index: Index, length: int) -> None:
    key = b"x" * length
    put(index, (key, b"1"), (key[:-1], b"2"))
    assert index.get(Table.ROWS, key) == b"1"
    assert index.get(Table.ROWS, key[:-1]) == b"2"
    assert index.get(Table.ROWS, key + b"x") is None
    assert [found for found, _ in index.scan(Table.ROWS, b"", b"")] == [key[:-1], key]
    assert [found for found, _ in index.scan(Table.ROWS, key, b"")] == [key]
    writer = index.begin()
    writer.remove(Table.ROWS, key)
    writer.commit()
    index.publish()
    assert [found for found, _ in index.scan(Table.ROWS, b"", b"")] == [key[:-1]]


def test_neighbours_are_those_beside_an_absent_key(index: Index) -> None:
    assert index.neighbours(Table.ROWS, b"a") == []
    put(index, (b"b", b"1"), (b"d", b"2"))
    assert index.neighbours(Table.ROWS, b"a") == [(b"b", b"1")]
    assert index.neighbours(Table.ROWS, b"c") == [(b"b", b"1"), (b"d", b"2")]
    assert index.neighbours(Table.ROWS, b"e") == [(b"d", b"2")]


def test_a_full_map_grows_without_losing_anything(tmp_path: Path) -> None:
    index = open_lmdb(str(tmp_path), map_bytes=1 << 17)
    put(index, (b"before", b"1"))
    items = [(b"%06d" % number, bytes(400)) for number in range(1000)]
    growths = 0
    while True:
        writer = index.begin()
        try:
            writer.put(Table.ROWS, items)
            writer.commit()
            break
        except IndexFullError:
            writer.abort()
            assert index.get(Table.ROWS, b"before") == b"1"
            index.grow()
            growths += 1
    index.publish()
    assert growths > 0
    assert list(index.scan(Table.ROWS, b"0", b"b")) == items
    assert index.get(Table.ROWS, b"before") == b"1"
    index.close()


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    index = open_lmdb(str(tmp_path))
    put(index, (b"a", b"1"))
    index.close()
    index.close()
    again = open_lmdb(str(tmp_path))
    assert again.get(Table.ROWS, b"a") == b"1"
    assert again.size_bytes() > 0
    again.close()


def test_a_file_that_is_no_index_is_damage(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no index at all" * 1000)
    with pytest.raises(IndexDamagedError):
        open_lmdb(str(tmp_path))


def test_the_verifier_finds_a_damaged_page(tmp_path: Path) -> None:
    assert verify_lmdb(str(tmp_path / "absent")) == ""
    index = open_lmdb(str(tmp_path))
    put(index, *[(b"%06d" % number, bytes(100)) for number in range(1000)])
    index.close()
    assert verify_lmdb(str(tmp_path)) == ""
    path = tmp_path / "data.mdb"
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 + 12] ^= 0x7F  # the header's bounds of the free space
    path.write_bytes(data)
    assert verify_lmdb(str(tmp_path)) != ""


def test_a_guard_covers_key_and_value() -> None:
    guarded = guard(b"key", b"value")
    assert unguard(b"key", guarded) == b"value"
    for key, value in ((b"kez", guarded), (b"key", guarded[:-1] + b"f"), (b"key", b"")):
        with pytest.raises(IndexDamagedError):
            unguard(key, value)
