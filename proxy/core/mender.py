"""The mender: makes anew the copies and fragments that reads and writes found missing or damaged.

What a read turned away from, or a device could not take, is queued here and rebuilt from the others, a
little later and one at a time; `proxy/repair/mend.py` is the worker that does so. It is no scrub: what
nobody touched stays unseen, and the queue ends with the process.
"""

from collections.abc import Awaitable, Callable
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

RETRY_S: Final = 30.0
"""A device that could not take its copy is asked again after this long."""

ATTEMPTS_MAX: Final = 20


Wanted = Callable[[BlobHeader], Awaitable[bool]]
"""Whether a row names the blob still: else what was just deleted would come back. Raises StoreError
where that can't be told now."""


class _UnwantedError(Exception):
    """No row names the blob any more."""


class Lost(NamedTuple):
    """A copy or fragment that is not there, or not good."""

    blob: Blob
    number: int


class _Try(NamedTuple):
    """How often a loss was tried, and when it may be next."""

    tries: int
    due_at: float


class Mender:
    """Queues losses and mends them."""

    def __init__(self, placement: Placement, clock: Clock, settle_s: float = SETTLE_S) -> None:
        self._placement = placement
        self.settle_s = settle_s
        self._clock = clock
        self._queue: dict[Lost, _Try] = {}
        self.mended = 0
        """Copies and fragments made anew so far."""
        self.given_up = 0
        """Losses that ATTEMPTS_MAX tries did not mend: `rebuild` finds them again."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def lost(self, blob: Blob, number: int) -> None:
        """Take note of a loss; a `ReportLost`."""
        if len(self._queue) < QUEUE_MAX:
            due_at = self._clock.monotonic() + self.settle_s
            self._queue.setdefault(Lost(blob, number), _Try(0, due_at))

    def due(self) -> Lost | None:
        """A loss to mend now: the one that waits longest."""
        now = self._clock.monotonic()
        return next((lost for lost, tried in self._queue.items() if tried.due_at <= now), None)

    async def round(self) -> None:
        """Try all that waits once."""
        for lost in list(self._queue):
            await self.try_mend(lost)

    async def try_mend(self, lost: Lost, wanted: Wanted | None = None) -> bool:
        """Whether the copy is there and good now. Else it is tried again, behind the others, whatever
        error came of it.

        wanted: without it every blob is; what is not wanted any more is not tried again.
        """
        tries = self._queue[lost].tries + 1
        try:
            mended = await self._try_mend(lost, wanted)
        except _UnwantedError:
            del self._queue[lost]
            return False
        except Exception:
            self._put_off(lost, tries)
            raise
        if mended:
            del self._queue[lost]
            self.mended += 1
        else:
            self._put_off(lost, tries)
        return mended

    def _put_off(self, lost: Lost, tries: int) -> None:
        del self._queue[lost]
        if tries < ATTEMPTS_MAX:
            self._queue[lost] = _Try(tries, self._clock.monotonic() + RETRY_S)
        else:
            self.given_up += 1

    async def _try_mend(self, lost: Lost, wanted: Wanted | None) -> bool:
        """Whether the copy is there and good now."""
        devices = self._placement.blob_devices(lost.blob.id, lost.blob.policy)
        codec = self._placement.codec(self._placement.policy(lost.blob.policy))
        source = BlobSource(lost.blob, devices, codec, self._clock)
        try:
            header = await source.header()
            if header is None:
                return False
            if wanted is not None and not await wanted(header):
                raise _UnwantedError
            await self._write_copy(lost, source, header)
        except (DeviceFault, StoreError):
            return False
        except ValueError:
            return True  # there is one of that name: somebody was faster
        finally:
            source.close()
        return True

    async def _write_copy(self, lost: Lost, source: BlobSource, header: BlobHeader) -> None:
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
