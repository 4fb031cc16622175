"""The cache under volumes: what it gives is what the store has, however it came and whatever went."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from compute.objects.errors import NoSuchObject, StoreAway
from compute.objects.memory import MemoryStore
from compute.volume.drivers.ring.cache import BLOCK_BYTES, WINDOW_BYTES, Cache

SIZE: Final = 2 * WINDOW_BYTES + 12_345


class Counting(MemoryStore):
    """Counts requests; away: so many of them fail. torn: a stream breaks off after its first part."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int | None]] = []
        self.away = 0

    def stream(self, container: str, name: str, offset: int = 0, length: int | None = None) -> Any:
        self.asked.append((offset, length))
        if self.away:
            self.away -= 1
            raise StoreAway("away")
        return super().stream(container, name, offset, length)


@pytest.fixture
async def store() -> Counting:
    """With one object."""
    made = Counting()
    await made.make_container("c")
    await made.put("c", "o", random.Random(1).randbytes(SIZE))
    return made


@pytest.fixture
async def cache(store: Counting, tmp_path: Path) -> AsyncIterator[Cache]:
    """With room for two windows."""
    made = Cache(store, str(tmp_path), 2 * WINDOW_BYTES)
    yield made
    await made.close()
    assert not list(tmp_path.iterdir()), "the file has no name"


def expected(store: Counting, offset: int, length: int) -> bytes:
    return store.containers["c"]["o"].data[offset : offset + length]


async def test_reads_at_random_give_what_the_store_has(store: Counting, cache: Cache) -> None:
    chance = random.Random(2)

    async def read() -> None:
        for _ in range(60):
            length = chance.choice([1, 4096, 100_000, WINDOW_BYTES])
            offset = chance.randrange(SIZE - 1)
            length = min(length, SIZE - offset)
            assert await cache.read("c", "o", SIZE, offset, length) == expected(store, offset, length)

    await asyncio.gather(*(read() for _ in range(4)))


async def test_what_is_at_hand_is_not_asked_for_again(store: Counting, cache: Cache) -> None:
    assert cache.now("c", "o", SIZE, 5000, 5000) is None
    await cache.read("c", "o", SIZE, 5000, 5000)
    asked = len(store.asked)
    assert cache.now("c", "o", SIZE, 5000, 5000) == expected(store, 5000, 5000)
    assert await cache.read("c", "o", SIZE, 6000, 3000) == expected(store, 6000, 3000)
    assert len(store.asked) == asked


async def test_many_who_want_the_same_ask_once(store: Counting, cache: Cache) -> None:
    found = await asyncio.gather(*(cache.read("c", "o", SIZE, 0, 4096) for _ in range(20)))
    assert set(found) == {expected(store, 0, 4096)}
    assert len(store.asked) == 1


async def test_reading_on_fetches_the_rest_of_a_window_at_once(store: Counting, cache: Cache) -> None:
    await cache.read("c", "o", SIZE, 0, 4 * BLOCK_BYTES)
    await cache.read("c", "o", SIZE, 4 * BLOCK_BYTES, 100)
    await cache.read("c", "o", SIZE, WINDOW_BYTES - 100, 100)
    assert [length for _, length in store.asked] == [4 * BLOCK_BYTES, WINDOW_BYTES - 4 * BLOCK_BYTES]


async def test_what_was_put_is_at_hand(store: Counting, cache: Cache) -> None:
    raw = os.urandom(100_000)
    await cache.keep("c", "new", raw)
    assert cache.now("c", "new", len(raw), 99_000, 1000) == raw[99_000:]
    cache.forget("c", "new")
    assert cache.now("c", "new", len(raw), 0, 10) is None


async def test_other_bytes_on_the_disk_are_noticed(store: Counting, cache: Cache) -> None:
    await cache.read("c", "o", SIZE, 0, WINDOW_BYTES)
    os.pwrite(cache._file, b"\xff" * 8, 20_000)
    assert cache.now("c", "o", SIZE, 16_384, 100) is None
    assert await cache.read("c", "o", SIZE, 19_000, 2000) == expected(store, 19_000, 2000)
    assert cache.now("c", "o", SIZE, 0, WINDOW_BYTES) == expected(store, 0, WINDOW_BYTES)


async def test_a_store_that_breaks_off_is_asked_again(store: Counting, cache: Cache) -> None:
    store.away = 2
    assert await cache.read("c", "o", SIZE, 0, WINDOW_BYTES) == expected(store, 0, WINDOW_BYTES)
    store.away = 100
    with pytest.raises(StoreAway):
        await cache.read("c", "o", SIZE, WINDOW_BYTES, WINDOW_BYTES)
    store.away = 0
    assert await cache.read("c", "o", SIZE, WINDOW_BYTES, 9) == expected(store, WINDOW_BYTES, 9)


async def test_what_is_gone_is_told_to_all(store: Counting, cache: Cache) -> None:
    reads = [cache.read("c", "absent", SIZE, 0, 10) for _ in range(3)]
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(error) for error in found] == [NoSuchObject] * 3


async def test_who_gives_up_takes_nothing_from_others(store: Counting, cache: Cache) -> None:
    first = asyncio.ensure_future(cache.read("c", "o", SIZE, 0, WINDOW_BYTES))
    second = asyncio.ensure_future(cache.read("c", "o", SIZE, 0, WINDOW_BYTES))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == expected(store, 0, WINDOW_BYTES)


async def test_a_full_disk_ends_the_cache_and_no_read(
    store: Counting, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, raw: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for offset in (0, WINDOW_BYTES, 0):
        assert await cache.read("c", "o", SIZE, offset, 5000) == expected(store, offset, 5000)
    assert cache.now("c", "o", SIZE, 0, 10) is None


async def test_closing_waits_for_what_threads_write(
    store: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, begun, going_on = Cache(store, str(tmp_path)), threading.Event(), threading.Event()
    files: list[int] = []
    write = os.pwrite

    def slow(fd: int, raw: bytes, at: int) -> int:
        begun.set()
        going_on.wait(30)
        files.append(os.fstat(fd).st_ino)
        return write(fd, raw, at)

    monkeypatch.setattr(os, "pwrite", slow)
    inode = os.fstat(cache._file).st_ino
    keeping = asyncio.ensure_future(cache.keep("c", "new", bytes(WINDOW_BYTES)))
    await asyncio.to_thread(begun.wait, 30)
    keeping.cancel()
    closing = asyncio.ensure_future(cache.close())
    await asyncio.wait([keeping])
    assert not closing.done()
    going_on.set()
    await closing
    assert files == [inode]
