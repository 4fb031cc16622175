"""The blob file's parts, as pure functions."""

import random

import pytest
import xxhash

from storage.contract import DeviceFault
from storage.device import blob_format
from storage.device.blob_format import BlobFormatError, ChunkTable
from storage.types import BlobHeader, BlobName, Fault


def header_of(**changes: object) -> BlobHeader:
    fields: dict[str, object] = {
        "name": BlobName(b"0123456789abcdef", 3),
        "partition": 9,
        "policy": "ec-4-2",
        "owner_shard": b"s" * 64,
        "owner_name": b"n" * 2048,
        "upload": b"u" * 16,
        "codec": "isa_l_rs_cauchy",
        "k": 4,
        "m": 2,
        "chunk_bytes": 262_176,
        "created_ns": 1_700_000_000_000_000_000,
    }
    return BlobHeader(**(fields | changes))  # type: ignore[arg-type]


def test_a_header_comes_back_as_it_was() -> None:
    block = blob_format.pack_header(header_of())
    assert len(block) == blob_format.HEADER_BYTES
    assert blob_format.parse_header(block) == header_of()


def test_no_flipped_bit_in_a_header_block_goes_unnoticed() -> None:
    block = blob_format.pack_header(header_of())
    for place in range(0, len(block), 7):
        torn = bytearray(block)
        torn[place] ^= 0x10
        with pytest.raises(BlobFormatError):
            blob_format.parse_header(torn)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": BlobName(b"short", 0)},
        {"name": BlobName(bytes(16), -1)},
        {"name": BlobName(bytes(16), blob_format.NUMBER_MAX + 1)},
        {"chunk_bytes": blob_format.CHUNK_MIN_BYTES - 1},
        {"chunk_bytes": blob_format.DATA_MAX_BYTES + 1},
    ],
)
def test_a_header_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not a blob name|out of bounds"):
        blob_format.pack_header(header_of(**changes))


def test_a_header_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DeviceFault) as caught:
        blob_format.pack_header(header_of(owner_name=b"n" * 4096))
    assert caught.value.fault is Fault.TOO_LARGE


def sealed(body: bytes) -> bytes:
    return body + xxhash.xxh3_64_digest(body)


def test_sound_checksums_do_not_make_a_header() -> None:
    body = blob_format.pack_header(header_of())[:-8]
    for wrong in (b"OTHERMAG" + body[8:], body[:11] + b"\2" + body[12:], body[:16] + bytes(4072)):
        with pytest.raises(BlobFormatError):
            blob_format.parse_header(sealed(wrong))


def test_the_seal_binds_header_length_and_table() -> None:
    block, other = (blob_format.pack_header(header_of(partition=p)) for p in (1, 2))
    seals = {
        blob_format.seal_of(block, 100, b"table"),
        blob_format.seal_of(other, 100, b"table"),
        blob_format.seal_of(block, 101, b"table"),
        blob_format.seal_of(block, 100, b"tablf"),
    }
    assert len(seals) == 4


@pytest.mark.parametrize("chunk_bytes", [512, 65_536, 70_000, 262_176])
def test_the_table_does_not_depend_on_the_pieces(chunk_bytes: int) -> None:
    choice = random.Random(chunk_bytes)
    data = memoryview(choice.randbytes(1_000_003))
    expected = b"".join(
        xxhash.xxh3_64_digest(data[start : start + chunk_bytes])
        for start in range(0, len(data), chunk_bytes)
    )
    assert blob_format.digests(data, chunk_bytes) == expected
    for _ in range(5):
        table = ChunkTable(chunk_bytes)
        start = 0
        while start < len(data):
            step = choice.choice([1, 511, 65_536, chunk_bytes, 3 * chunk_bytes + 1])
            table.update([data[start : start + step]])
            start += step
        assert table.finish() == expected


def test_the_first_bad_chunk_is_named() -> None:
    data = bytearray(10 * 512 + 3)
    table = blob_format.digests(memoryview(data), 512)
    assert blob_format.first_bad_chunk(memoryview(data), 512, table, 0) is None
    data[7 * 512] ^= 1
    data[10 * 512] ^= 1
    assert blob_format.first_bad_chunk(memoryview(data), 512, table, 0) == 7
    assert blob_format.first_bad_chunk(memoryview(data)[8 * 512 :], 512, table, 8) == 10
