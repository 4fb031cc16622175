"""Reading one blob from whichever copies or fragments are good.

Every byte is verified at its device. Where a copy is missing, damaged or slow the next one is read; a
range of an erasure coded blob comes straight from its data fragments, or is rebuilt from any k. What is
not at home is looked for where it may be else (`homes.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from proxy.core.errors import Damaged, Unavailable
from proxy.core.fragment_range import FragmentRange
from proxy.core.guarded import responsive
from proxy.core.latency import Latency
from proxy.core.patience import Patience
from proxy.core.types import Blob, Buffer
from ring.types import REPLICAS_MAX
from runtime.clock import Clock
from runtime.tasks import Race
from storage.contract import BlobReader, DeviceClient, DeviceFault
from storage.erasure.contract import Codec
from storage.types import BLOB_ID_BYTES, SEGMENT_BYTES, BlobHeader, BlobName, Fault

BLOB_READ_MAX_S: Final = 60.0
"""Opening or reading a range of one copy takes no longer than this."""

BLOB_HEDGE_MIN_S: Final = 0.1
BLOB_HEDGE_MAX_S: Final = 1.0
"""Another copy is read, too, where one takes much longer than usual: within these bounds."""

SEARCH_MAX_S: Final = 2.0
"""A device that does not say by then whether it stands in for a home is left out."""

READ_WINDOW_SEGMENTS: Final = 2
"""How many segments a reader asks a device for at a time."""

ReportLost = Callable[[Blob, int], None]
Elsewhere = Callable[[], Sequence[DeviceClient]]
"""Devices where copies may be that are not at home."""


async def held(device: DeviceClient, blob_id: bytes) -> list[int]:
    """Numbers of the copies or fragments of a blob that a device holds. Raises DeviceFault."""
    before = int.from_bytes(blob_id, "big") - 1
    after = BlobName(before.to_bytes(BLOB_ID_BYTES, "big"), REPLICAS_MAX) if before >= 0 else None
    entries = await device.list_blobs(after, REPLICAS_MAX)
    return [entry.header.name.number for entry in entries if entry.header.name.id == blob_id]


class BlobSource:
    """One blob opened for reading from whichever copies or fragments are good."""

    def __init__(
        self,
        blob: Blob,
        devices: Sequence[DeviceClient],
        codec: Codec | None,
        clock: Clock,
        lost: ReportLost | None = None,
        elsewhere: Elsewhere | None = None,
        latency: Latency | None = None,
    ) -> None:
        """devices: its homes, by number. lost: told of every copy or fragment that is missing there or
        damaged. elsewhere: asked once, and only where too few are good at home. latency: of reading
        windows, shared by sources.
        """
        self._blob = blob
        self._report_lost = lost
        self._devices = dict(enumerate(devices))  # by number, where it is read from
        self._elsewhere = elsewhere
        self._codec = codec
        self._clock = clock
        self._latency = latency or Latency(BLOB_HEDGE_MIN_S, BLOB_HEDGE_MAX_S)
        self._readers: dict[int, BlobReader] = {}
        self._bad: dict[int, DeviceFault] = {}
        self._slow: set[int] = set()
        self._found: dict[int, DeviceClient] = {}
        self._unsearched = False
        self._patience = Patience(clock)

    def close(self) -> None:
        """Let go of all readers. Idempotent."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    async def read(self, offset: int, length: int) -> list[memoryview]:
        """Verified bytes [offset, offset + length) of the blob. Raises Damaged, Unavailable."""
        begun = self._clock.monotonic()
        self._patience = Patience(self._clock)
        if self._codec is None:
            views = await self._read_replica(offset, length)
        else:
            views = await self._read_fragments(self._codec, offset, length)
        self._latency.saw(self._clock.monotonic() - begun)
        return views

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

    async def _read_one(self, number: int, offset: int, length: int) -> Sequence[memoryview]:
        """Bytes of one copy or fragment. Raises DeviceFault, and leaves it out from then on."""
        try:
            async with asyncio.timeout(BLOB_READ_MAX_S):
                return await (await self._reader(number)).read(offset, length)
        except TimeoutError:
            fault = DeviceFault(Fault.DEADLINE, "read")
        except DeviceFault as error:
            fault = error
        except ValueError:
            fault = DeviceFault(Fault.CORRUPT, "shorter than its row says")
        self._leave_out(number, fault)
        if (reader := self._readers.pop(number, None)) is not None:
            reader.close()
        raise fault

    def _prompt(self, number: int) -> bool:
        """Whether a copy or fragment is expected to come without delay."""
        return (
            number not in self._bad and number not in self._slow and responsive(self._devices[number])
        )

    def _next(self, begun: set[int]) -> int | None:
        """The copy or fragment to read next, the prompt ones and the first in order before others.

        The first copy is the one whose pages are kept in memory; data fragments need no computing.
        """
        left = [n for n in self._devices if n not in self._bad and n not in begun]
        return min(left, key=lambda n: (not self._prompt(n), n), default=None)

    async def _find_elsewhere(self) -> None:
        """Look once for what may not be at home."""
        if self._elsewhere is None:
            return
        others, self._elsewhere = self._elsewhere(), None
        found = await asyncio.gather(*(self._try_held(device) for device in others))
        for device, numbers in zip(others, found, strict=True):
            for number in numbers:
                self._found.setdefault(number, device)

    def _turn_to_found(self, busy: set[int]) -> set[int]:
        """Read from elsewhere what is not good at home; the numbers of what was found there.

        busy: numbers whose reads at home are not over.
        """
        turned = (self._found.keys() & self._bad.keys()) - busy
        for number in turned:
            self._devices[number] = self._found.pop(number)
            del self._bad[number]
        return turned

    async def _try_held(self, device: DeviceClient) -> list[int]:
        try:
            async with asyncio.timeout(SEARCH_MAX_S):
                return await held(device, self._blob.id)
        except (DeviceFault, TimeoutError):
            self._unsearched = True
            return []

    def leave_out(self, number: int) -> None:
        """Do not read a copy or fragment that is known not to be there."""
        self._bad[number] = DeviceFault(Fault.ABSENT)

    def _leave_out(self, number: int, fault: DeviceFault) -> None:
        self._bad[number] = fault
        if self._report_lost is not None and fault.fault in (Fault.CORRUPT, Fault.ABSENT):
            self._report_lost(self._blob, number)

    async def header(self) -> BlobHeader | None:
        """What any of its copies says of the blob; None where none is to be had."""
        found = await self._try_header()
        if found is None:
            await self._find_elsewhere()
            if self._turn_to_found(set()):
                found = await self._try_header()
        return found

    @property
    def gone(self) -> bool:
        """After `header` found none: there surely is no copy, wherever one could be."""
        return not self._unsearched and all(f.fault is Fault.ABSENT for f in self._bad.values())

    async def _try_header(self) -> BlobHeader | None:
        for number in sorted(self._devices, key=lambda n: (not self._prompt(n), n)):
            try:
                return (await self._reader(number)).header
            except DeviceFault as fault:
                self._leave_out(number, fault)
        return None

    async def rebuilt(self, number: int) -> AsyncGenerator[Buffer, None]:
        """The bytes of copy or fragment `number`, made from the others. Raises Damaged, Unavailable."""
        self._bad.setdefault(number, DeviceFault(Fault.ABSENT))
        for offset in range(0, self._blob.size_bytes, SEGMENT_BYTES):
            size = min(SEGMENT_BYTES, self._blob.size_bytes - offset)
            if self._codec is None:
                for view in await self._read_replica(offset, size):
                    yield view
            else:
                segment = FragmentRange(self._codec, self._blob.size_bytes, offset, size)
                good = await self._gather(self._codec, segment, direct=False)
                made = good if number in good else self._codec.reconstruct(good, [number])
                yield made[number]

    async def _read_replica(self, offset: int, length: int) -> list[memoryview]:
        """From the first copy; from others, too, while that takes its time or where it is not good."""
        race: Race[Sequence[memoryview]] = Race(DeviceFault)
        async with race:
            wanted = 1
            while not race.good:
                if not await self._step(race, wanted, offset, length):
                    wanted = len(race.running) + 1
            self._slow |= race.running
        return list(next(iter(race.good.values())))

    async def _step(
        self, race: Race[Sequence[memoryview]], wanted: int, offset: int, length: int
    ) -> bool:
        """Have `wanted` reads under way or good, and wait for one; False: they take their time.

        Raises Damaged, Unavailable where there are no more, here or elsewhere, and none is under way.
        """
        while len(race.running) + len(race.good) < wanted:
            if self._next(race.begun) is None:
                await self._find_elsewhere()
            for found in self._turn_to_found(race.running) & race.failed.keys():
                del race.failed[found]
            number = self._next(race.begun)
            if number is None and not race.running and await self._lasts(race):
                continue
            if number is None:
                break
            race.start(number, self._read_one(number, offset, length))
        if not race.running:
            raise self._lost(self._codec.k if self._codec is not None else 1)
        more = self._elsewhere is not None or self._next(race.begun) is not None
        return await race.step(self._latency.hedge_s if more else None)

    async def _lasts(self, race: Race[Sequence[memoryview]]) -> bool:
        """Wait a moment for devices that come back; then they are asked again."""
        away = [n for n, fault in self._bad.items() if fault.fault is Fault.UNREACHABLE]
        if not await self._patience.lasts([self._devices[n] for n in away], [Fault.UNREACHABLE]):
            return False
        for number in away:
            del self._bad[number]
            race.failed.pop(number, None)
        return True

    def _lost(self, need: int) -> Damaged | Unavailable:
        gone = [fault.fault for fault in self._bad.values()]
        said = ", ".join(sorted({fault.name.lower() for fault in gone}))
        text = f"fewer than {need} good copies of a part of the object: {said}"
        sure = all(fault in (Fault.CORRUPT, Fault.ABSENT) for fault in gone)
        if sure and not self._unsearched:
            return Damaged(text)
        return Unavailable(text)

    async def _read_fragments(self, codec: Codec, offset: int, length: int) -> list[memoryview]:
        """A range of whole windows' segments: straight from the data fragments, else rebuilt."""
        wanted = FragmentRange(codec, self._blob.size_bytes, offset, length)
        good = await self._gather(codec, wanted)
        return wanted.direct(good) if wanted.needed <= good.keys() else await wanted.rebuilt(good)

    async def _gather(
        self, codec: Codec, wanted: FragmentRange, *, direct: bool = True
    ) -> dict[int, memoryview]:
        """The range's part of all fragments that it needs (where `direct`), or of any k.

        Others than those are read only where one of them is slow or not good.
        """
        at, size, needed = wanted.at, wanted.size_bytes, wanted.needed
        race: Race[Sequence[memoryview]] = Race(DeviceFault)
        async with race:
            count = codec.k
            if direct and all(map(self._prompt, needed)):
                count = len(needed)
                for number in needed:
                    race.start(number, self._read_one(number, at, size))
            while not (direct and needed <= race.good.keys()) and len(race.good) < codec.k:
                prompt = await self._step(race, count, at, size)
                if race.failed or not prompt:
                    count = codec.k + (0 if prompt else len(race.running))
            self._slow |= race.running
        good = race.good if direct and needed <= race.good.keys() else sorted(race.good)[: codec.k]
        return {number: _joined(race.good[number]) for number in good}


def _joined(views: Sequence[memoryview]) -> memoryview:
    return views[0] if len(views) == 1 else memoryview(b"".join(views))


def windows(offset: int, length: int) -> list[tuple[int, int]]:
    """A range cut into what is read at a time, on segment boundaries."""
    window = READ_WINDOW_SEGMENTS * SEGMENT_BYTES
    cuts = []
    end = offset + length
    while offset < end:
        step = min(end, (offset // window + 1) * window) - offset
        cuts.append((offset, step))
        offset += step
    return cuts
