"""mend: makes anew what reads and writes found missing, from the queue of `proxy/core/mender.py`."""

from typing import Final

from proxy.core.errors import Unavailable
from proxy.core.mender import Mender
from proxy.core.owners import UNPROVABLE, Owners, owner_of
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.types import BlobHeader

LOOK_AGAIN_S: Final = 2.0


class Mending:
    """Mends for this process."""

    name = "mend"

    def __init__(self, mender: Mender, owners: Owners, clock: Clock, pace: Pace) -> None:
        self.pace = pace
        self._owners = owners
        self._mender = mender
        self._tally = Tally(clock)

    async def work(self) -> Worked:
        """The next loss that is due."""
        if not len(self._mender):
            self._tally.begin()
        lost = self._mender.due()
        if lost is None:
            return Worked.IDLE
        if await self._mender.try_mend(lost, self._wanted):
            self._tally.did(1, lost.blob.size_bytes)
        return Worked.BUSY

    async def _wanted(self, header: BlobHeader) -> bool:
        try:
            named = await self._owners.named(owner_of(header))
        except UNPROVABLE as error:
            raise Unavailable("whether a row names the blob can't be told now") from error
        return named is None or header.name.id in named

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            doing="making anew what reads and writes found missing",
            done=self._tally.done,
            done_bytes=self._tally.done_bytes,
            left=len(self._mender),
            rate_s=self._tally.rate_s,
            rate_bytes_s=self._tally.rate_bytes_s,
            since_s=self._tally.since_s,
            counts={"copies_mended": self._mender.mended, "losses_given_up": self._mender.given_up},
        )
