"""What was read of immutable objects, kept in a file on this host's disk: the cache under all volumes.

A *window* is 4 MiB of an object and has one place in the file; it is filled by *blocks* of 16 KiB, as
they are asked for or ahead of it. Names never stand for other bytes later, so nothing grows stale. The
file has no name: when the process ends, however it ends, the room is free again. The host's memory
keeps what is used much, and what is not is one read of a local disk away. Every block is checked, when
it is read, against the digest that it had when it came; one that differs is fetched anew.
"""

import asyncio
import logging
import os
import tempfile
import weakref
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from xxhash import xxh3_64_intdigest

from compute.objects.contract import ObjectStore
from compute.objects.errors import StoreAway

WINDOW_BYTES: Final = 4 * 1024 * 1024
BLOCK_BYTES: Final = 16 * 1024
BLOCKS: Final = WINDOW_BYTES // BLOCK_BYTES
CACHE_BYTES: Final = 1024 * 1024 * 1024
"""On the disk, of a process, for all its volumes."""
LEAST_BLOCKS: Final = 4
"""Fetched at once: asking costs more than bringing."""
MISSES_MAX: Final = 8
"""In a window; then all of it is fetched."""
FETCHES_AHEAD: Final = 4
GET_BYTES_MAX: Final = 256 * 1024
"""Fetched as one answer; what is longer is stored as it comes."""
INLINE_BYTES_MAX: Final = 512 * 1024
"""Written to the file by the loop; what is longer by a thread."""
TRIES: Final = 4

log = logging.getLogger("atoll.cloud.volume")

Key = tuple[str, str, int]
"""Container, object, number of the window."""


class Window:
    """place: where it is in the file, in bytes. present: a bit for each block."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.present = 0
        self.digests = array("Q", bytes(8 * BLOCKS))
        self.misses = 0
        self.fetches: list[Fetch] = []

    def has(self, first: int, end: int) -> bool:
        """Whether all blocks of a range are there."""
        bits = (1 << (end - first)) - 1
        return (self.present >> first) & bits == bits

    def coming(self, block: int) -> "Fetch | None":
        """Who brings a block."""
        for fetch in self.fetches:
            if fetch.first <= block < fetch.end:
                return fetch
        return None


class Fetch:
    """Blocks on their way, in order. done: the first that is not there yet."""

    def __init__(self, first: int, end: int) -> None:
        self.first = first
        self.end = end
        self.done = first
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def until(self, block: int) -> asyncio.Future[None]:
        """Done when all before `block` are there."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.done >= min(block, self.end):
            future.set_result(None)
        else:
            self._waiting.append((min(block, self.end), future))
        return future

    def reached(self, done: int) -> None:
        """All before `done` are there."""
        self.done = done
        for block, future in self._waiting:
            if block <= done and not future.done():
                future.set_result(None)
        self._waiting = [(block, future) for block, future in self._waiting if block > done]

    def failed(self, error: BaseException) -> None:
        """Whoever waits is told."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waited may have gone: then nobody asks


class Cache:
    """A process's. folder: of the file; none for the host's usual one."""

    def __init__(
        self, objects: ObjectStore, folder: str | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._objects = objects
        self._file, path = tempfile.mkstemp(dir=folder, prefix="volumes-")
        os.unlink(path)
        self._end = weakref.finalize(self, os.close, self._file)
        self._windows: OrderedDict[Key, Window] = OrderedDict()
        self._free = [number * WINDOW_BYTES for number in reversed(range(cache_bytes // WINDOW_BYTES))]
        self._tasks: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Task[None]] = set()
        self._ahead = 0
        self._is_broken = False

    async def close(self) -> None:
        """Stop fetching, and give the room back."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._writes:  # threads, which nobody can cancel: the file must not be another one then
            await asyncio.wait(self._writes)
        self._windows.clear()
        self._is_broken = True
        self._end()

    def now(self, container: str, name: str, size: int, offset: int, length: int) -> bytes | None:
        """A range within an object of `size` bytes where it is at hand; else None."""
        number, start = divmod(offset, WINDOW_BYTES)
        if start + length <= WINDOW_BYTES:
            return self._from_window((container, name, number), size, start, length)
        parts = []
        for key, at, part in _windows(container, name, offset, length):
            found = self._from_window(key, size, at, part)
            if found is None:
                return None
            parts.append(found)
        return b"".join(parts)

    def _from_window(self, key: Key, size: int, start: int, length: int) -> bytes | None:
        window = self._windows.get(key)
        if window is None:
            return None
        first, end = start // BLOCK_BYTES, (start + length - 1) // BLOCK_BYTES + 1
        if not window.has(first, end):
            return None
        self._windows.move_to_end(key)
        low, high = first * BLOCK_BYTES, min(end * BLOCK_BYTES, size - key[2] * WINDOW_BYTES)
        raw = os.pread(self._file, high - low, window.place + low)
        view = memoryview(raw)
        for block in range(first, end):
            at = (block - first) * BLOCK_BYTES
            if xxh3_64_intdigest(view[at : at + BLOCK_BYTES]) != window.digests[block]:
                log.error("the cache of volumes has other bytes than were put into it")
                window.present &= ~(1 << block)
                return None
        return raw if len(raw) == length else raw[start - low : start - low + length]

    async def read(self, container: str, name: str, size: int, offset: int, length: int) -> bytes:
        """A range within an object of `size` bytes. Raises NoSuchObject, StoreAway."""
        for _ in range(TRIES):
            known = self.now(container, name, size, offset, length)
            if known is not None:
                return known
            if self._is_broken:
                break
            waits = [
                wait
                for key, start, part in _windows(container, name, offset, length)
                for wait in self._fetched(key, size, start, part)
            ]
            if not waits:
                break
            await asyncio.gather(*waits)
        return await self._objects.get(container, name, offset, length)

    def ahead(self, container: str, name: str, size: int, offset: int, length: int) -> None:
        """Begin to fetch what is likely to be read soon, unless too much is under way."""
        if not self._is_broken and self._ahead < FETCHES_AHEAD:
            for key, start, part in _windows(container, name, offset, length):
                self._fetched(key, size, start, part, is_ahead=True)

    async def keep(self, container: str, name: str, raw: bytes) -> None:
        """Bytes of a whole object, at most a window, that was put just now."""
        key = (container, name, 0)
        if self._is_broken or not raw or key in self._windows or (window := self._new(key)) is None:
            return
        fetch = Fetch(0, -(-len(raw) // BLOCK_BYTES))
        window.fetches.append(fetch)  # it keeps its place meanwhile
        try:
            await self._store(window, 0, raw)
        finally:
            window.fetches.remove(fetch)
            fetch.reached(fetch.end)

    def forget(self, container: str, name: str) -> None:
        """The room of an object that is deleted."""
        key = (container, name, 0)
        window = self._windows.get(key)
        if window is not None and not window.fetches:
            del self._windows[key]
            self._free.append(window.place)

    # -- filling --

    def _new(self, key: Key) -> Window | None:
        """A window with a place; the one that was used least recently has to go. None: all are busy."""
        if not self._free:
            oldest = next((at for at, window in self._windows.items() if not window.fetches), None)
            if oldest is None:
                return None
            self._free.append(self._windows.pop(oldest).place)
        window = self._windows[key] = Window(self._free.pop())
        return window

    def _fetched(
        self, key: Key, size: int, start: int, length: int, *, is_ahead: bool = False
    ) -> list[asyncio.Future[None]]:
        """Begin what is not under way; what to wait for."""
        window = self._windows.get(key) or self._new(key)
        if window is None:
            return []
        first, end = start // BLOCK_BYTES, (start + length - 1) // BLOCK_BYTES + 1
        last = min(BLOCKS, -(-(size - key[2] * WINDOW_BYTES) // BLOCK_BYTES))
        waits = []
        block = first
        while block < end:
            fetch = window.coming(block)
            if fetch is None and not window.has(block, block + 1):
                fetch = self._begun(key, size, window, block, end, last, is_ahead=is_ahead)
            if fetch is None:
                block += 1
                continue
            waits.append(fetch.until(end))
            block = fetch.end
        return waits

    def _begun(
        self, key: Key, size: int, window: Window, block: int, end: int, last: int, *, is_ahead: bool
    ) -> Fetch:
        """Fetch from `block` on: all of the window where reading goes on or comes back to it."""
        window.misses += 1
        goes_on = block > 0 and (window.has(block - 1, block) or window.coming(block - 1) is not None)
        if goes_on or window.misses > MISSES_MAX:
            end = last
        end = min(max(end, block + LEAST_BLOCKS), last)
        stop = block + 1
        while stop < end and not window.has(stop, stop + 1) and window.coming(stop) is None:
            stop += 1
        fetch = Fetch(block, stop)
        window.fetches.append(fetch)
        self._ahead += is_ahead
        task = asyncio.ensure_future(self._run(key, size, window, fetch))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._ahead -= is_ahead
            self._tasks.discard(task)

        task.add_done_callback(ended)
        return fetch

    async def _run(self, key: Key, size: int, window: Window, fetch: Fetch) -> None:
        container, name, number = key
        base = number * WINDOW_BYTES
        start = base + fetch.first * BLOCK_BYTES
        length = min(base + fetch.end * BLOCK_BYTES, size) - start
        try:
            pending = b""
            async for piece in self._bytes(container, name, start, length):
                pending = pending + piece if pending else piece
                whole = len(pending) - len(pending) % BLOCK_BYTES
                await self._store(window, fetch.done, pending[:whole])
                fetch.reached(fetch.done + whole // BLOCK_BYTES)
                pending = pending[whole:]
            if pending:  # the object's end
                await self._store(window, fetch.done, pending)
            fetch.reached(fetch.end)
        except asyncio.CancelledError:
            fetch.failed(StoreAway("reading was broken off"))
            raise
        except Exception as error:
            fetch.failed(error)
        finally:
            window.fetches.remove(fetch)

    async def _bytes(self, container: str, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """A range as it comes; asked for again from where it broke off."""
        if length <= GET_BYTES_MAX:
            yield await self._objects.get(container, name, start, length)
            return
        at = 0
        for number in range(TRIES):
            try:
                async with self._objects.stream(container, name, start + at, length - at) as found:
                    async for chunk in found.chunks():
                        yield chunk
                        at += len(chunk)
                return
            except StoreAway:
                if number == TRIES - 1:
                    raise

    async def _store(self, window: Window, first: int, raw: bytes) -> None:
        """Blocks into the file. A disk that is full ends the cache, and nothing else."""
        try:
            if len(raw) > INLINE_BYTES_MAX:
                work = asyncio.ensure_future(asyncio.to_thread(self._write, window, first, raw))
                self._writes.add(work)
                work.add_done_callback(self._writes.discard)
                await asyncio.shield(work)
            else:
                self._write(window, first, raw)
        except OSError as error:
            log.error("the cache of volumes can't be written, so it is given up: %s", error)
            self._is_broken = True
            return
        window.present |= ((1 << -(-len(raw) // BLOCK_BYTES)) - 1) << first

    def _write(self, window: Window, first: int, raw: bytes) -> None:
        view = memoryview(raw)
        at = 0
        while at < len(raw):
            place = window.place + first * BLOCK_BYTES + at
            at += os.pwrite(self._file, view[at:], place)
        for number, at in enumerate(range(0, len(raw), BLOCK_BYTES), first):
            window.digests[number] = xxh3_64_intdigest(view[at : at + BLOCK_BYTES])


def _windows(container: str, name: str, offset: int, length: int) -> list[tuple[Key, int, int]]:
    """A range by windows: which, start within it, length."""
    parts = []
    at, end = offset, offset + length
    while at < end:
        number, start = divmod(at, WINDOW_BYTES)
        part = min(WINDOW_BYTES - start, end - at)
        parts.append(((container, name, number), start, part))
        at += part
    return parts
