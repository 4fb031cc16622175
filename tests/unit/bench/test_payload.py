"""Contents are reproducible, differ everywhere, and their checksum is that of the bytes sent."""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.payload import WINDOW_BYTES, Payloads

PAYLOADS = Payloads()


@given(st.integers(0, 200_000), st.integers(0, 3 * WINDOW_BYTES + 17), st.integers(0, 40))
def test_checksum_is_of_the_bytes(index: int, size: int, first: int) -> None:
    content = b"".join(PAYLOADS.windows(index, size, first))
    assert len(content) == size
    assert PAYLOADS.checksum(index, size, first) == xxhash.xxh3_64_intdigest(content)


def test_parts_make_the_whole() -> None:
    whole = b"".join(PAYLOADS.windows(0, 6 * WINDOW_BYTES))
    parts = [b"".join(PAYLOADS.windows(0, 2 * WINDOW_BYTES, first)) for first in (0, 2, 4)]
    assert b"".join(parts) == whole


def test_no_two_objects_and_no_two_windows_are_alike() -> None:
    firsts = {bytes(PAYLOADS.whole(index, 64)) for index in range(20_000)}
    windows = {bytes(window[:64]) for window in PAYLOADS.windows(3, 64 * WINDOW_BYTES)}
    assert len(firsts) == 20_000
    assert len(windows) == 64


def test_whole_is_the_only_window() -> None:
    assert bytes(PAYLOADS.whole(7, 4096)) == b"".join(PAYLOADS.windows(7, 4096))
    with pytest.raises(ValueError, match="no contiguous content"):
        PAYLOADS.whole(7, WINDOW_BYTES + 1)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert bytes(Payloads(5).whole(1, 32)) == bytes(Payloads(5).whole(1, 32))
    assert bytes(Payloads(5).whole(1, 32)) != bytes(Payloads(6).whole(1, 32))
