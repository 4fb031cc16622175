"""Reading one blob from whichever copies or fragments are good.

Every byte is verified at its device. Where a copy is missing or damaged the next one is read; a range
of an erasure coded blob comes straight from its data fragments, or is rebuilt from any k.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from proxy.core.errors import Damaged, Unavailable
from proxy.core.types import Blob, Buffer
from runtime.clock import Clock
from storage.contract import BlobReader, DeviceClient, DeviceFault
from storage.erasure.contract import Codec, FragmentSlice
from storage.types import SEGMENT_BYTES, BlobHeader, BlobName, Fault

BLOB_READ_MAX_S: Final = 60.0
"""Opening or reading a range of one copy takes no longer than this."""

READ_PATIENCE_S: Final = 3.0
"""While there are other copies, one that takes longer is left out."""

READ_WINDOW_SEGMENTS: Final = 2
"""How many segments a reader asks a device for at a time."""

ReportLost = Callable[[Blob, int], None]


class BlobSource:
    """One blob opened for reading from whichever copies or fragments are good."""

    def __init__(
        self,
        blob: Blob,
        devices: Sequence[DeviceClient],
        codec: Codec | None,
        clock: Clock,
        lost: ReportLost | None = None,
    ) -> None:
        """lost: told of every copy or fragment that is missing or damaged."""
        self._blob = blob
        self._report_lost = lost
        self._devices = devices
        self._codec = codec
        self._clock = clock
        self._readers: dict[int, BlobReader] = {}
        self._bad: dict[int, DeviceFault] = {}
        self._patience_s = READ_PATIENCE_S
        self._order = range(len(devices))  # the first copy is the one whose pages are kept in memory

    def close(self) -> None:
        """Let go of all readers. Idempotent."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    async def read(self, offset: int, length: int) -> list[memoryview]:
        """Verified bytes [offset, offset + length) of the blob. Raises Damaged, Unavailable.

        A slow copy is turned away from, until there is no other.
        """
        try:
            return await self._read(offset, length)
        except Unavailable:
            slow = [n for n, fault in self._bad.items() if fault.fault is Fault.DEADLINE]
            if not slow or self._patience_s == BLOB_READ_MAX_S:
                raise
            self._patience_s = BLOB_READ_MAX_S
            for number in slow:
                del self._bad[number]
            return await self._read(offset, length)

    async def _read(self, offset: int, length: int) -> list[memoryview]:
        if self._codec is None:
            return await self._read_replica(offset, length)
        return await self._read_fragments(self._codec, offset, length)

    def windows(self, offset: int, length: int) -> list[tuple[int, int]]:
        """The range cut into what is read at a time, on segment boundaries."""
        window = READ_WINDOW_SEGMENTS * SEGMENT_BYTES
        cuts = []
        end = offset + length
        while offset < end:
            step = min(end, (offset // window + 1) * window) - offset
            cuts.append((offset, step))
            offset += step
        return cuts

    async def _reader(self, number: int) -> BlobReader:
        reader = self._readers.get(number)
        if reader is None:
            if number in self._bad:
                raise self._bad[number]
            deadline = self._clock.monotonic() + BLOB_READ_MAX_S
            name = BlobName(self._blob.id, number)
            reader = await self._devices[number].open_blob(name, deadline)
            self._readers[number] = reader
        return reader

    async def _try_read(self, number: int, offset: int, length: int) -> Sequence[memoryview] | None:
        """Bytes of one copy or fragment, None where it is missing or damaged."""
        try:
            async with asyncio.timeout(self._patience_s):
                return await (await self._reader(number)).read(offset, length)
        except TimeoutError:
            self._leave_out(number, DeviceFault(Fault.DEADLINE, "read"))
        except DeviceFault as fault:
            self._leave_out(number, fault)
        except ValueError:
            self._leave_out(number, DeviceFault(Fault.CORRUPT, "shorter than its row says"))
        if (reader := self._readers.pop(number, None)) is not None:
            reader.close()
        return None

    def _leave_out(self, number: int, fault: DeviceFault) -> None:
        self._bad[number] = fault
        if self._report_lost is not None and fault.fault in (Fault.CORRUPT, Fault.ABSENT):
            self._report_lost(self._blob, number)

    async def header(self) -> BlobHeader | None:
        """What any of its copies says of the blob; None where none is to be had."""
        for number in range(len(self._devices)):
            try:
                return (await self._reader(number)).header
            except DeviceFault as fault:
                self._leave_out(number, fault)
        return None

    async def rebuilt(self, number: int) -> AsyncGenerator[Buffer, None]:
        """The bytes of copy or fragment `number`, made from the others. Raises Damaged, Unavailable."""
        self._bad.setdefault(number, DeviceFault(Fault.ABSENT))
        for segment in range(-(-self._blob.size_bytes // SEGMENT_BYTES)):
            size = self._segment_bytes(segment)
            if self._codec is None:
                for view in await self._read_replica(segment * SEGMENT_BYTES, size):
                    yield view
            else:
                at, count = self._fragment_range(self._codec, segment, segment)
                good = await self._any_k(self._codec, at, count)
                yield self._codec.reconstruct(good, [number])[number]

    async def _read_replica(self, offset: int, length: int) -> list[memoryview]:
        for number in self._order:
            if number not in self._bad:
                views = await self._try_read(number, offset, length)
                if views is not None:
                    return list(views)
        raise self._lost(1)

    def _lost(self, need: int) -> Damaged | Unavailable:
        gone = [fault.fault for fault in self._bad.values()]
        said = ", ".join(sorted({fault.name.lower() for fault in gone}))
        text = f"fewer than {need} good copies of a part of the object: {said}"
        if all(fault in (Fault.CORRUPT, Fault.ABSENT) for fault in gone):
            return Damaged(text)
        return Unavailable(text)

    async def _read_fragments(self, codec: Codec, offset: int, length: int) -> list[memoryview]:
        """A range of whole windows' segments: straight from the data fragments, else rebuilt."""
        first = offset // SEGMENT_BYTES
        last = (offset + length - 1) // SEGMENT_BYTES
        if not any(number in self._bad for number in range(codec.k)):
            views = await self._read_systematic(codec, first, last, offset, length)
            if views is not None:
                return views
        return await self._rebuild(codec, first, last, offset, length)

    def _segment_bytes(self, segment: int) -> int:
        return min(SEGMENT_BYTES, self._blob.size_bytes - segment * SEGMENT_BYTES)

    def _fragment_range(self, codec: Codec, first: int, last: int) -> tuple[int, int]:
        """Where the fragments of segments first..last lie in each fragment file: (offset, length)."""
        stride = codec.fragment_bytes(SEGMENT_BYTES)
        tail = codec.fragment_bytes(self._segment_bytes(last))
        return first * stride, (last - first) * stride + tail

    async def _read_systematic(
        self, codec: Codec, first: int, last: int, offset: int, length: int
    ) -> list[memoryview] | None:
        """The range straight from the data fragments that hold it; None where one is not good."""
        at, size = self._fragment_range(codec, first, last)
        slices = self._slices(codec, first, last, offset, length)
        numbers = sorted({piece.number for _, piece in slices})
        answers = await asyncio.gather(*(self._try_read(n, at, size) for n in numbers))
        whole = {}
        for number, views in zip(numbers, answers, strict=True):
            if views is None:
                return None
            whole[number] = _joined(views)
        return [
            whole[number][base + start : base + start + count]
            for base, (number, start, count) in slices
        ]

    def _slices(
        self, codec: Codec, first: int, last: int, offset: int, length: int
    ) -> list[tuple[int, FragmentSlice]]:
        """Where the range lies: (offset of its segment in the fragments' range, slice), in order."""
        stride = codec.fragment_bytes(SEGMENT_BYTES)
        found = []
        for segment in range(first, last + 1):
            base = segment * SEGMENT_BYTES
            size = self._segment_bytes(segment)
            low, high = max(offset - base, 0), min(offset + length - base, size)
            for piece in codec.data_slices(size, low, high - low):
                found.append(((segment - first) * stride, piece))
        return found

    async def _rebuild(
        self, codec: Codec, first: int, last: int, offset: int, length: int
    ) -> list[memoryview]:
        """The range from any k good fragments; only the missing data fragments are computed."""
        at, size = self._fragment_range(codec, first, last)
        good = await self._any_k(codec, at, size)
        stride = codec.fragment_bytes(SEGMENT_BYTES)
        loop = asyncio.get_running_loop()
        out: list[memoryview] = []
        for segment in range(first, last + 1):
            start = (segment - first) * stride
            base, count = segment * SEGMENT_BYTES, self._segment_bytes(segment)
            stop = start + codec.fragment_bytes(count)
            pieces = {number: view[start:stop] for number, view in good.items()}
            low, high = max(offset - base, 0), min(offset + length - base, count)
            work = partial(_rebuilt, codec, pieces, count, low, high - low)
            out += work() if codec.quick else await loop.run_in_executor(None, work)
        return out

    async def _any_k(self, codec: Codec, at: int, size: int) -> dict[int, memoryview]:
        """The same range of k good fragments, data fragments first."""
        good: dict[int, memoryview] = {}
        candidates = [n for n in range(len(self._devices)) if n not in self._bad]
        while len(good) < codec.k and candidates:
            batch = candidates[: codec.k - len(good)]
            candidates = candidates[len(batch) :]
            answers = await asyncio.gather(*(self._try_read(n, at, size) for n in batch))
            for number, views in zip(batch, answers, strict=True):
                if views is not None:
                    good[number] = _joined(views)
        if len(good) < codec.k:
            raise self._lost(codec.k)
        return good


def _joined(views: Sequence[memoryview]) -> memoryview:
    return views[0] if len(views) == 1 else memoryview(b"".join(views))


def _rebuilt(
    codec: Codec, pieces: Mapping[int, Buffer], segment_size: int, start: int, length: int
) -> list[memoryview]:
    slices = codec.data_slices(segment_size, start, length)
    missing = sorted({piece.number for piece in slices if piece.number not in pieces})
    made = codec.reconstruct(pieces, missing) if missing else {}
    whole = {**pieces, **made}
    return [memoryview(whole[n])[at : at + count] for n, at, count in slices]
