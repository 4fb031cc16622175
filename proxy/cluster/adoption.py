"""How a process goes from one ring epoch to the next, in the order that keeps what it acknowledged.

1. Its clients know every device of the ring, and its newcomers hold nothing from before.
2. The new ring is durable here: after a restart the process never answers in an older epoch.
3. The fence closes: no row call of any epoch is taken.
4. What was taken becomes durable. A newcomer that pulls from here in the new epoch must find it, or an
   acknowledged write could be missing from a majority of the new set.
5. The fence opens in the new epoch, and this process's own requests go on there.

Then those who wait for it are told: what the ring no longer names is let go of, newcomers are settled.
There is no way back from here, so where one of them fails, the others are told all the same, and it is
told again by the next `adopt`, of whatever ring is in use by then.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.core.placement import Placement
from ring.lookup import Ring
from storage.fence import CLOSED, Fence


class RingHost(Protocol):
    """What a process does for a new ring beside its fence."""

    async def prepare(self, ring: Ring) -> None:
        """Reach the ring's devices, open new ones of our own. May be repeated."""

    async def empty_newcomers(self, ring: Ring) -> None:
        """Empty our devices where this ring makes them newcomers (`newcomers.py`).

        Comes before `keep`: a newcomer that crashes in between is emptied again, one that has begun to
        take writes in this epoch never is.
        """

    async def keep(self, ring: Ring) -> None:
        """Make the ring durable on this host, unless a newer one is."""

    async def flush(self) -> None:
        """Wait until everything that our devices have taken is durable, or has failed."""


class Adoption:
    """Adopts rings, one after the other; ring: the present one."""

    def __init__(
        self,
        ring: Ring,
        fence: Fence,
        placement: Placement,
        host: RingHost,
    ) -> None:
        """The first ring is in use already."""
        self.ring = ring
        self.on_adopted: list[Callable[[Ring], Awaitable[None]]] = []
        """Told of each ring, in this order, once it is in use."""
        self._fence = fence
        self._placement = placement
        self._host = host
        self._untold: list[Callable[[Ring], Awaitable[None]]] = []

    async def adopt(self, ring: Ring) -> None:
        """Go on in `ring`, unless it is not newer, and tell who has not been told yet.

        Cancelled or failed before it was entered, the fence is as it was. The error of one who was told
        is raised, too; to adopt the same ring again is to go on with those.
        """
        if ring.epoch > self.ring.epoch:
            await self._enter(ring)
            self._untold = list(self.on_adopted)
        await self._tell()

    async def _enter(self, ring: Ring) -> None:
        await self._host.prepare(ring)
        await self._host.empty_newcomers(ring)
        await self._host.keep(ring)
        before = self._fence.epoch
        self._fence.epoch = CLOSED
        try:
            await self._host.flush()
        except BaseException:
            self._fence.epoch = before
            raise
        self._fence.epoch = ring.epoch
        self.ring = ring
        self._placement.adopt(ring)

    async def _tell(self) -> None:
        failed: Exception | None = None
        for tell in list(self._untold):
            try:
                await tell(self.ring)
            except Exception as error:
                failed = failed or error
            else:
                self._untold.remove(tell)
        if failed is not None:
            raise failed
