"""audit: a slow walk over a device's blobs for those that no row names and no hint told of.

A PUT that failed half way leaves such orphans, and so do the hints of a device that was lost. A blob is
judged only when it is older than the orphan grace (its PUT may be under way), and removed only when two
looks, at least the readers' grace apart, both proved that no row names it: it may have been replaced
just before the first.
"""

from typing import Final

from proxy.core.blobs import BLOB_DEADLINE_S
from proxy.core.owners import UNPROVABLE, Owners, owner_of
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.contract import DeviceClient
from storage.types import BlobEntry, BlobName

BLOBS_PER_UNIT: Final = 64

SUSPECTS_MAX: Final = 100_000
"""How many blobs may wait for their second look; further ones are found by a later walk."""

BLOBS_PER_S: Final = 50.0
"""How many blobs of a device are judged in a second, each by a read of its owner's row."""

AGAIN_MAX_S: Final = 3600.0
"""Between two walks; a shorter orphan grace makes it shorter."""


def again_s(orphan_grace_s: float) -> float:
    """How long to wait between two walks."""
    return min(AGAIN_MAX_S, max(1.0, orphan_grace_s / 2))


class Auditor:
    """Walks over one device of this process. grace_s: as the collector's. Its pace counts blobs."""

    name = "audit"

    def __init__(
        self,
        device: DeviceClient,
        owners: Owners,
        clock: Clock,
        pace: Pace,
        grace_s: float,
        orphan_grace_s: float,
    ) -> None:
        self.pace = pace
        self._device = device
        self._owners = owners
        self._clock = clock
        self._grace_s = grace_s
        self._orphan_grace_s = orphan_grace_s
        self._after: BlobName | None = None
        self._suspects: dict[BlobName, float] = {}
        self._seen: dict[BlobName, float] = {}
        self._tally = Tally(clock)
        self.removed = 0
        """Copies and fragments removed so far."""
        self._unproven = 0

    async def work(self) -> Worked:
        """A page of blobs."""
        if self._after is None:
            self._tally.begin()
        before_ns = self._clock.now_ns() - int(self._orphan_grace_s * 1e9)
        entries = await self._device.list_blobs(self._after, BLOBS_PER_UNIT)
        for entry in entries:
            if entry.header.created_ns <= before_ns:
                await self._judge(entry)
            self._tally.did(1, entry.size_bytes)
        if len(entries) == BLOBS_PER_UNIT:
            self._after = entries[-1].header.name
            return Worked.BUSY
        self._after = None
        self._suspects, self._seen = self._seen, {}  # who was not seen again is gone or named
        return Worked.IDLE

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device.device_id}",
            doing="looking for blobs that no row names",
            done=self._tally.done,
            done_bytes=self._tally.done_bytes,
            rate_s=self._tally.rate_s,
            rate_bytes_s=self._tally.rate_bytes_s,
            since_s=self._tally.since_s,
            counts={
                "orphans_removed": self.removed,
                "orphans_suspected": len({*self._suspects, *self._seen}),
                "orphans_unproven": self._unproven,
            },
        )

    async def _judge(self, entry: BlobEntry) -> None:
        name, begun = entry.header.name, self._clock.monotonic()
        try:
            named = await self._owners.named(owner_of(entry.header))
        except UNPROVABLE:
            self._unproven += 1
        else:
            if named is not None and name.id not in named:
                await self._suspect(name)
        await self.pace.spend(self._clock.monotonic() - begun, 1)

    async def _suspect(self, name: BlobName) -> None:
        """No row names the blob now: remove it, if none did a grace ago."""
        now = self._clock.monotonic()
        since = self._suspects.get(name, now)
        if now - since >= self._grace_s:
            await self._device.delete_blob(name, now + BLOB_DEADLINE_S)
            self.removed += 1
        elif len(self._seen) < SUSPECTS_MAX:
            self._seen[name] = since
