"""Bytes on their way into the object store: parts, sizes and hashes, with a known size and without."""

import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from compute.image import transfer
from compute.image.formats.inspect import Inspector, Mismatch
from compute.image.transfer import TooMuch, Written, pieces_of, read, write
from compute.objects.errors import StoreRefused
from compute.objects.memory import MemoryStore

MIB = 1024 * 1024
LIMIT = 64 * MIB


async def chunked(data: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]
        yield b""


async def written(store: MemoryStore, data: bytes, size: int | None, step: int = 100_000) -> Written:
    """A raw image of these bytes."""
    await store.make_container("c")
    inspector = Inspector("raw", "bare")
    return await write(store, "c", "p/", chunked(data, step), inspector, LIMIT, size)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 5 * MIB + 7])
async def test_it_is_there_as_it_came(known: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SEGMENT_BYTES", 2 * MIB)
    store, data = MemoryStore(), random.Random(size).randbytes(size)
    found = await written(store, data, size if known else None)
    assert found.size_bytes == size
    assert found.checksum == hashlib.md5(data).hexdigest()
    assert found.hash_value == hashlib.sha512(data).hexdigest()
    assert sum(part[1] for part in found.parts) == size
    assert all(part[1] <= 3 * MIB for part in found.parts)
    assert len(found.parts) == (0 if size == 0 else 1 if size <= 2 * MIB else 3)
    pieces = pieces_of("c", found.parts)
    assert b"".join([chunk async for chunk in read(store, pieces)]) == data


async def test_more_than_was_announced_is_no_image() -> None:
    with pytest.raises((ConnectionError, StoreRefused)):
        await written(MemoryStore(), bytes(3 * MIB), MIB)


async def test_too_much_and_what_it_is_not() -> None:
    with pytest.raises(TooMuch):
        await written(MemoryStore(), bytes(LIMIT + 1), LIMIT + 1)
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(MIB)
    for size in (len(header), None):
        with pytest.raises(Mismatch):
            await written(MemoryStore(), header, size)
