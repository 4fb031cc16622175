"""sweep: removes files of a device that are no blobs: what died with its writer or its owner.

The judgement is `storage/device/blob_sweep.py`'s; this one goes from shelf to shelf.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.types import BlobName

SHELVES: Final = 256

AGAIN_S: Final = 6 * 3600.0
"""Between two rounds."""


class Sweeps(Protocol):
    """A device's files that are no blobs (`storage.device.blob_sweep.BlobSweep`)."""

    async def shelf(self, first_byte: int) -> list[BlobName]:
        """Remove those of one shelf."""

    async def staging(self) -> list[BlobName]:
        """Remove those of dead writers."""


class Sweeper:
    """Sweeps one device of this process."""

    name = "sweep"

    def __init__(self, device_id: int, sweep: Sweeps, clock: Clock, pace: Pace) -> None:
        self.pace = pace
        self._device_id = device_id
        self._sweep = sweep
        self._shelf = 0
        self._tally = Tally(clock)
        self._removed = 0

    async def work(self) -> Worked:
        """One shelf; before the first, the staging files."""
        gone: Sequence[BlobName] = []
        if self._shelf == 0:
            self._tally.begin(left=SHELVES)
            gone = await self._sweep.staging()
        gone = [*gone, *await self._sweep.shelf(self._shelf)]
        self._removed += len(gone)
        self._tally.did(1, 0)
        self._shelf = (self._shelf + 1) % SHELVES
        return Worked.BUSY if self._shelf else Worked.IDLE

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device_id}",
            doing="removing files that died with their writers",
            done=self._tally.done,
            left=self._tally.left,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            counts={"files_removed": self._removed},
        )
