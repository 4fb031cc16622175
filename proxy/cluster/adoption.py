"""How a process goes from one ring epoch to the next, in the order that keeps what it acknowledged.

1. Its clients know every device of the ring, and its newcomers hold nothing from before.
2. The new ring is durable here: after a restart the process never answers in an older epoch.
3. The fence closes: no row call of any epoch is taken.
4. What was taken becomes durable. A newcomer that pulls from here in the new epoch must find it, or an
   acknowledged write could be missing from a majority of the new set.
5. The fence opens in the new epoch, and this process's own requests go on there.
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

    async def adopt(self, ring: Ring) -> None:
        """Go on in `ring`, unless it is not newer. Cancelled or failed, the fence is as it was."""
        if ring.epoch <= self.ring.epoch:
            return
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
        for told in self.on_adopted:
            await told(ring)
