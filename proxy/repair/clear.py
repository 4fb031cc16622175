"""clear: takes away the rows of shards that have split, and of containers that are gone.

Their rows are elsewhere, or were of no one; the seal stays for ever, one row, because whoever remembers
the old shard must be told. Each process clears the replicas on its own devices.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final

from proxy.core.placement import ROWS_PLACEMENT, Placement
from proxy.core.rows import Rows
from proxy.repair.container_walk import ask_device, partitioned, shards_on
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.spent import is_spent
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.types import (
    FORGET_ROWS_MAX,
    Clear,
    Ok,
    Page,
    Scan,
)

SHARDS_PER_UNIT: Final = 64

LOOK_AGAIN_S: Final = 600.0


class Clearer:
    """Clears the shards on this process's devices."""

    name = "clear"

    def __init__(
        self, rows: Rows, placement: Placement, owned: Iterable[int], clock: Clock, pace: Pace
    ) -> None:
        """owned: ids of the process's devices; may be set anew at any time."""
        self.pace = pace
        self._rows = rows
        self._placement = placement
        self.owned = frozenset(owned)
        self._clock = clock
        self._round: AsyncIterator[None] | None = None
        self._tally = Tally(clock)
        self._cleared = 0

    async def work(self) -> Worked:
        """A look at some shards, or a page of rows of one."""
        if self._round is None:
            self._round = self._shards()
        try:
            await anext(self._round)
        except StopAsyncIteration:
            self._round = None
            return Worked.IDLE
        except BaseException:
            self._round = None  # the next look begins anew
            raise
        return Worked.BUSY

    def status(self) -> WorkerStatus:
        """See Worker."""
        return WorkerStatus(
            name=self.name,
            doing="removing rows of shards that have split",
            done=self._tally.done,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            counts={"rows_cleared": self._cleared},
        )

    async def _shards(self) -> AsyncIterator[None]:
        ring = partitioned(self._placement.ring)
        for partition in range(1 << ring.part_power):
            ids = self._placement.ring.devices(ROWS_PLACEMENT, partition)
            for device_id in sorted(self.owned):
                if device_id in ids:
                    async for _ in self._of_partition(device_id, partition):
                        yield
            if partition % SHARDS_PER_UNIT == 0:
                yield

    async def _of_partition(self, device_id: int, partition: int) -> AsyncIterator[None]:
        for shard in await shards_on(self._placement, device_id, partition, self._clock):
            if shard.sealed and shard.rows > 1 and shard.key[:1] == b"o":
                async for _ in self._clear_if_spent(device_id, shard.key):
                    yield

    async def _clear_if_spent(self, device_id: int, shard: bytes) -> AsyncIterator[None]:
        if not await is_spent(self._rows, shard):
            return
        start, more = b"", True
        while more:
            scan = Scan(shard, start, b"", FORGET_ROWS_MAX // 2)
            page = await ask_device(self._placement, device_id, scan, self._clock)
            if type(page) is not Page or not page.sealed:
                return
            for at in range(0, len(page.rows), FORGET_ROWS_MAX):
                some = page.rows[at : at + FORGET_ROWS_MAX]
                message = Clear(shard, [(row.name, row.version) for row in some])
                if type(await ask_device(self._placement, device_id, message, self._clock)) is not Ok:
                    return
                self._cleared += len(some)
                self._tally.did(len(some), 0)
                yield
            start, more = page.covered_to, page.covered_to != b""
