"""LMDB's index against sorted(), with keys that share long prefixes and cross LMDB's key length."""

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.device.index import open_lmdb
from storage.device.index_contract import Table

EDGES = [1, 2, 494, 495, 496, 509, 510, 511, 512, 1005, 1006, 1007, 1501, 1502]
STEMS = [b"a", b"\0", b"\xff"]
KEYS = st.builds(
    lambda stem, length, tail: stem * length + tail,
    st.sampled_from(STEMS),
    st.sampled_from(EDGES),
    st.sampled_from([b"", b"\0", b"a", b"b", b"\xff", b"a\0", b"zz"]) | st.binary(max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(KEYS, max_size=20), min_size=1, max_size=3), KEYS, KEYS, st.data())
def test_rows_are_in_byte_order(
    commits: list[set[bytes]], start: bytes, end: bytes, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as path:
        index = open_lmdb(path, map_bytes=1 << 24)
        model: dict[bytes, bytes] = {}
        for number, keys in enumerate(commits):
            items = [(key, b"%d" % number + key[-2:]) for key in keys]
            model.update(items)
            writer = index.begin()
            writer.put(Table.ROWS, items)
            if model:
                gone = data.draw(st.sampled_from(sorted(model)))
                writer.remove(Table.ROWS, gone)
                del model[gone]
            writer.commit()
        index.publish()
        assert list(index.scan(Table.ROWS, b"", b"")) == sorted(model.items())
        within = [item for item in sorted(model.items()) if start <= item[0] < end]
        assert list(index.scan(Table.ROWS, start, end)) == within
        assert all(index.get(Table.ROWS, key) == value for key, value in model.items())
        assert all(index.get(Table.ROWS, key) is None for key in {start, end} - set(model))
        index.close()
