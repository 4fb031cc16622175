"""The mender: makes anew the copies and fragments that reads and writes found missing or damaged.

What a read turned away from, or a device could not take, is queued here and rebuilt from the others, a
little later and one at a time, so that requests come first. It is no scrub: what nobody touched stays
unseen, and the queue ends with the process.
"""

import asyncio
import contextlib
import math
from typing import Final, NamedTuple

import msgspec

from proxy.core.blob_source import BlobSource
from proxy.core.blobs import BLOB_DEADLINE_S
from proxy.core.errors import StoreError
from proxy.core.placement import Placement
from proxy.core.types import Blob
from runtime.clock import Clock
from storage.contract import DeviceFault
from storage.types import BlobHeader, BlobName

QUEUE_MAX: Final = 10_000
"""Further losses are not queued; the next read that meets them will tell again."""

SETTLE_S: Final = 20.0
"""A loss is mended this long after it was noticed: who noticed it is still reading."""

PAUSE_S: Final = 0.05
"""Between two copies, at least."""

SHARE: Final = 0.25
"""The part of its time that the mender works: requests come first."""

RETRY_S: Final = 30.0
"""A device that could not take its copy is asked again after this long."""

ATTEMPTS_MAX: Final = 20


class _Lost(NamedTuple):
    """A copy or fragment that is not there, or not good."""

    blob: Blob
    number: int


class Mender:
    """Queues losses and mends them."""

    def __init__(self, placement: Placement, clock: Clock, settle_s: float = SETTLE_S) -> None:
        self._placement = placement
        self.settle_s = settle_s
        self._clock = clock
        self._queue: dict[_Lost, int] = {}  # how often it was tried
        self._wake = asyncio.Event()
        self.mended = 0
        """Copies and fragments made anew so far."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def lost(self, blob: Blob, number: int) -> None:
        """Take note of a loss; a `ReportLost`."""
        if len(self._queue) < QUEUE_MAX:
            self._queue.setdefault(_Lost(blob, number), 0)
            self._wake.set()

    async def run(self) -> None:
        """Mend for ever; to be cancelled. New losses do not wait for what is tried again later."""
        retry_at = math.inf
        while True:
            await self._sleep_until(retry_at)
            await asyncio.sleep(self.settle_s)
            due = self._clock.monotonic() >= retry_at
            await self._try_all([lost for lost, tries in self._queue.items() if due or not tries])
            if due or math.isinf(retry_at):
                retry_at = self._clock.monotonic() + RETRY_S if self._queue else math.inf

    async def _sleep_until(self, instant: float) -> None:
        """Until then, or until there is a new loss."""
        left_s = None if math.isinf(instant) else max(0.0, instant - self._clock.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._wake.wait()
        self._wake.clear()

    async def round(self) -> None:
        """Try all that waits once."""
        await self._try_all(list(self._queue))

    async def _try_all(self, losses: list[_Lost]) -> None:
        for lost in losses:
            tries = self._queue[lost] + 1
            begun = self._clock.monotonic()
            if await self._try_mend(lost):
                self.mended += 1
            elif tries < ATTEMPTS_MAX:
                self._queue[lost] = tries
                continue
            del self._queue[lost]
            worked_s = self._clock.monotonic() - begun
            await asyncio.sleep(max(PAUSE_S, worked_s * (1 / SHARE - 1)))

    async def _try_mend(self, lost: _Lost) -> bool:
        """Whether the copy is there and good now."""
        devices = self._placement.blob_devices(lost.blob.id, lost.blob.policy)
        codec = self._placement.codec(self._placement.policy(lost.blob.policy))
        source = BlobSource(lost.blob, devices, codec, self._clock)
        try:
            header = await source.header()
            if header is None:
                return False
            await self._write_copy(lost, source, header)
        except (DeviceFault, StoreError):
            return False
        except ValueError:
            return True  # there is one of that name: somebody was faster
        finally:
            source.close()
        return True

    async def _write_copy(self, lost: _Lost, source: BlobSource, header: BlobHeader) -> None:
        devices = self._placement.blob_devices(lost.blob.id, lost.blob.policy)
        named = msgspec.structs.replace(header, name=BlobName(lost.blob.id, lost.number))
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        writer = await devices[lost.number].create_blob(named, deadline)
        try:
            async for piece in source.rebuilt(lost.number):
                await writer.write(piece)
            await writer.commit()
        except BaseException:
            await writer.abort()
            raise
