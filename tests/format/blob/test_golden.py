"""Blob files of every format version, kept for ever: they are read and written as they were."""

from pathlib import Path

import pytest

from storage.device import blob_format
from storage.types import BlobEntry, BlobHeader, BlobName
from tests.unit.blobs.doors import Device

GOLDEN = Path(__file__).parent / "golden"

REPLICA = BlobHeader(
    name=BlobName(bytes(range(16)), 2),
    partition=1_048_575,
    policy="replicated-3",
    owner_shard=b"\x01shard",
    owner_name="ein/Schlüssel".encode(),
    upload=b"",
    codec="",
    k=0,
    m=0,
    chunk_bytes=512,
    created_ns=1_700_000_000_123_456_789,
)
FRAGMENT = BlobHeader(
    name=BlobName(bytes(range(255, 239, -1)), 5),
    partition=0,
    policy="ec-4-2",
    owner_shard=b"",
    owner_name=b"",
    upload=b"an upload's id",
    codec="isa_l_rs_cauchy",
    k=4,
    m=2,
    chunk_bytes=700,
    created_ns=0,
)
DATA = bytes(range(256)) * 5 + b"tail"
CASES = [("v1-replica.blob", REPLICA), ("v1-fragment.blob", FRAGMENT)]


@pytest.mark.parametrize(("file", "header"), CASES)
async def test_version_1_is_written_as_it_was(tmp_path: Path, file: str, header: BlobHeader) -> None:
    device = Device(tmp_path)
    await device.blobs.start()
    name = await device.put(DATA, header)
    assert device.path(name).read_bytes() == (GOLDEN / file).read_bytes()
    device.executor.shutdown()


@pytest.mark.parametrize(("file", "header"), CASES)
async def test_version_1_is_read_as_it_was(tmp_path: Path, file: str, header: BlobHeader) -> None:
    device = Device(tmp_path)
    await device.blobs.start()
    staged = tmp_path / "staging" / device.path(header.name).name
    staged.write_bytes((GOLDEN / file).read_bytes())
    assert await device.blobs.adopt(header.name) == BlobEntry(header, len(DATA))
    assert await device.get(header.name) == DATA
    device.executor.shutdown()


def test_the_documented_places_are_the_real_ones() -> None:
    whole = (GOLDEN / "v1-replica.blob").read_bytes()
    assert whole[:12] == b"ATOLLBLB" + bytes([0, 0, 0, 1])
    assert blob_format.parse_header(whole[:4096]) == REPLICA
    assert whole[4096 : 4096 + len(DATA)] == DATA
    assert len(whole) == 4096 + len(DATA) + 3 * 8 + 24
    assert whole[-24:-16] == len(DATA).to_bytes(8, "big")
    assert whole[-8:] == b"ATOLLEND"
