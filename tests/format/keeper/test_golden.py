"""Version 1 of the keeper's file, kept for ever, byte by byte."""

import struct
from pathlib import Path

from xxhash import xxh3_128_digest

from storage.keeper_file import HEADER, Kept, decode, encode
from storage.replica import RowState
from storage.types import RowFlag

GOLDEN = Path(__file__).parent / "golden" / "v1.keeper"

FIRST, SECOND, BALLOT = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))

ROWS = {
    (b"cluster", b"ring"): Kept(
        RowState(SECOND + BALLOT, BALLOT, (FIRST + bytes(16), SECOND + bytes(16))),
        RowFlag.UNCOUNTED,
        9,
        b"head",
        b"the ring!",
    ),
    (b"cluster", b"nodes"): Kept(RowState(promised=BALLOT)),
}


def test_version_1_is_written_as_it_was() -> None:
    assert encode(ROWS) == GOLDEN.read_bytes()


def test_version_1_is_read_as_it_was() -> None:
    assert decode(GOLDEN.read_bytes()) == ROWS


def test_the_documented_bytes_are_the_real_ones() -> None:
    data = GOLDEN.read_bytes()
    assert data[:24] == b"ATOLKEEP" + struct.pack("<HHIQ", 1, 0, 2, len(data))
    assert HEADER.size == 24
    assert data[24:26] == b"\x92\x99"  # two rows of nine fields, "nodes" before "ring"
    assert data[-16:] == xxh3_128_digest(data[:-16])
