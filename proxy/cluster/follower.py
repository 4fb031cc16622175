"""Keeps a process at the cluster's newest ring.

It looks when a peer or a device was met in another epoch, and now and then by itself. The keepers'
register is the truth; while no majority of them can be reached, peers are asked: what one of them uses
was in the register once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from proxy.cluster.adoption import Adoption
from proxy.cluster.register import RingRegister
from proxy.core.errors import StoreError
from ring import file
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.contract import DeviceFault
from storage.node import NodeClient

LOOK_EVERY_S: Final = 2.0
"""How often it looks without being told, give or take a half."""

PEER_TIME_S: Final = 5.0
PEERS_ASKED_MAX: Final = 3
"""How many peers are asked where the keepers don't answer."""

RETRY_S: Final = 0.2
"""After a look or an adoption that failed."""


class Follower:
    """See the module. peers: those known at the moment; on_problem: told why a ring was not adopted."""

    def __init__(
        self,
        adoption: Adoption,
        register: RingRegister,
        peers: Callable[[], Iterable[NodeClient]],
        clock: Clock,
        randomness: Randomness,
        on_problem: Callable[[Exception], None],
    ) -> None:
        self._adoption = adoption
        self._register = register
        self._peers = peers
        self._clock = clock
        self._randomness = randomness
        self._on_problem = on_problem
        self._poked = asyncio.Event()

    @property
    def epoch(self) -> int:
        """Of the ring in use."""
        return self._adoption.ring.epoch

    def poke(self) -> None:
        """There may be a newer ring: look now."""
        self._poked.set()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            self._poked.clear()
            wait_s = LOOK_EVERY_S * self._randomness.uniform(0.5, 1.5)
            if not await self.look():
                wait_s = RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._poked.wait()

    async def look(self) -> bool:
        """Adopt what is newer, or end what an earlier adoption left undone; False where that failed, or
        nobody could be asked."""
        try:
            ring = await self._newer()
            await self._adoption.adopt(ring or self._adoption.ring)
        except (AtollError, StoreError, DeviceFault, OSError) as problem:
            self._on_problem(problem)
            return False
        return True

    async def _newer(self) -> Ring | None:
        try:
            if await self._register.epoch() <= self.epoch:
                return None
            return await self._register.read()
        except StoreError:
            found = await self._from_peers()
            if found is None:
                raise
            return found

    async def _from_peers(self) -> Ring | None:
        """A newer ring that a peer has."""
        peers = list(self._peers())
        for _ in range(min(PEERS_ASKED_MAX, len(peers))):
            peer = peers.pop(int(self._randomness.uniform(0, len(peers))) % len(peers))
            with contextlib.suppress(DeviceFault):
                data = await peer.ring(self.epoch, self._clock.monotonic() + PEER_TIME_S)
                if data:
                    return file.decode(data)
        return None
