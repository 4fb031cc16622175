"""Making one copy or fragment on a device: whole, verified and durable, or not at all.

Used by `rebuild.py`, which takes the bytes from the other copies, and `rebalance.py`, which moves one.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from proxy.core.blobs import BLOB_DEADLINE_S
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.contract import BlobReader, Buffer, DeviceClient
from storage.types import BlobHeader

WINDOW_BYTES: Final = 1024 * 1024
"""How much of a blob is read at a time."""


async def whole(reader: BlobReader) -> AsyncGenerator[Buffer, None]:
    """All bytes of a blob, each verified. Raises DeviceFault."""
    for offset in range(0, reader.size_bytes, WINDOW_BYTES):
        for view in await reader.read(offset, min(WINDOW_BYTES, reader.size_bytes - offset)):
            yield view


class Copies:
    """Makes copies at a worker's pace and counts their bytes."""

    def __init__(self, clock: Clock, pace: Pace, tally: Tally) -> None:
        self._clock = clock
        self._pace = pace
        self._tally = tally

    async def make(
        self, device: DeviceClient, header: BlobHeader, pieces: AsyncGenerator[Buffer, None]
    ) -> None:
        """A new blob of these bytes, durable on return, when it is its turn. Cancelled or failed, there
        is none.

        Raises DeviceFault; what `pieces` raises; ValueError where the device has one of this name, or
        is being given one.
        """
        async with aclosing(pieces), self._pace.turn():
            deadline = self._clock.monotonic() + BLOB_DEADLINE_S
            writer = await device.create_blob(header, deadline)
            try:
                begun = self._clock.monotonic()
                async for piece in pieces:
                    await writer.write(piece)
                    self._tally.did(0, len(piece))
                    await self._pace.spend(self._clock.monotonic() - begun, len(piece))
                    begun = self._clock.monotonic()
                await writer.commit()
            except BaseException:
                await writer.abort()
                raise
