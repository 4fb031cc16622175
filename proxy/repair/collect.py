"""collect: removes the blobs of replaced rows, after a grace for readers and with a proof.

Its candidates are the hints that a device keeps where it replaced a row that owned blobs. A candidate's
own header names its owner; it is removed only if neither the owner's row, read by quorum, nor a part or
an upload of it names it, or if the container is gone with all its rows. What cannot be proven now
stays. Blobs without any hint are found by `audit.py`.
"""

from typing import Final

from proxy.core.blobs import Blobs, Owner
from proxy.core.object_rows import decode_manifest
from proxy.core.owners import UNPROVABLE, Owners, owner_of
from proxy.core.types import Blob
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.contract import DeviceClient
from storage.types import GarbageEntry

HINTS_PER_UNIT: Final = 200

LOOK_AGAIN_MAX_S: Final = 30.0
"""Time between looks; a shorter grace makes it shorter."""


def look_again_s(grace_s: float) -> float:
    """How long to wait between two looks."""
    return min(LOOK_AGAIN_MAX_S, max(1.0, grace_s / 2))


class Collector:
    """Works off the hints of one device of this process.

    grace_s: how long replaced blobs stay for readers under way.
    """

    name = "collect"

    def __init__(
        self,
        device: DeviceClient,
        owners: Owners,
        blobs: Blobs,
        clock: Clock,
        pace: Pace,
        grace_s: float,
    ) -> None:
        self.pace = pace
        self._device = device
        self._owners = owners
        self._blobs = blobs
        self._clock = clock
        self._grace_s = grace_s
        self._after = 0
        self._tally = Tally(clock)
        self.removed = 0
        """Blobs removed so far."""
        self._unproven = 0

    async def work(self) -> Worked:
        """A page of hints. Those that can't be settled now must not stand before the others."""
        before_ns = self._clock.now_ns() - int(self._grace_s * 1e9)
        entries = await self._device.list_garbage(self._after, HINTS_PER_UNIT)
        done = [e.seq for e in entries if e.replaced_ns <= before_ns and await self._settled(e)]
        if done:
            await self._device.forget_garbage(done)
        more = len(entries) == HINTS_PER_UNIT
        self._after = entries[-1].seq if more else 0
        return Worked.BUSY if more else Worked.IDLE

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            scope=f"d{self._device.device_id}",
            doing="removing blobs that no row names any more",
            done=self._tally.done,
            done_bytes=self._tally.done_bytes,
            rate_s=self._tally.rate_s,
            rate_bytes_s=self._tally.rate_bytes_s,
            since_s=self._tally.since_s,
            counts={"blobs_removed": self.removed, "hints_unproven": self._unproven},
        )

    async def _settled(self, entry: GarbageEntry) -> bool:
        """Remove what a replaced version alone named; False where that can't be told now."""
        begun = self._clock.monotonic()
        try:
            parts = decode_manifest(entry.manifest).parts
            orphans = await self._orphans([blob for part in parts for blob in part.blobs])
        except UNPROVABLE:
            self._unproven += 1
            return False
        await self._blobs.try_delete(orphans)
        self.removed += len(orphans)
        self._tally.did(len(orphans), sum(blob.size_bytes for blob in orphans))
        await self.pace.spend(self._clock.monotonic() - begun)
        return True

    async def _orphans(self, candidates: list[Blob]) -> list[Blob]:
        """Those that no row names. The blobs of one version have one owner, so it is asked once."""
        owned: dict[Owner, list[Blob]] = {}
        for blob in candidates:
            header = await self._blobs.header(blob)
            if header is not None:
                owned.setdefault(owner_of(header), []).append(blob)
        orphans = []
        for owner, blobs in owned.items():
            named = await self._owners.named(owner)
            orphans += [blob for blob in blobs if named is not None and blob.id not in named]
        return orphans
