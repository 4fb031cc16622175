"""Going on where a shard turns out to be sealed: in what the container's row says by now.

Cached containers may be stale. A deleted container's shards are sealed, and so are shards that have
moved on (`resharding.py`), so a majority says so; then the container's row is read again and the
operation goes on in what it names, waits while a move is under way, or ends with NoSuchContainer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from proxy.core.containers import Containers
from proxy.core.errors import Unavailable
from proxy.core.resharding import patience_s
from proxy.core.rows import SealedShard
from proxy.core.seals import Superseded
from proxy.core.types import Container
from runtime.clock import Clock
from runtime.randomness import Randomness

SEALED_MAX_S: Final = 20.0
"""An operation that met seals for so long is given up."""

WAIT_S: Final = 0.01
"""Base of the pause between two looks at a container whose shard is being moved."""

SEALED_ATTEMPTS: Final = 4
"""How often a seal that nothing in the container's row explains is met before that is given up."""

T = TypeVar("T")


class Living:
    """Operations on what containers are now."""

    def __init__(self, containers: Containers, clock: Clock, randomness: Randomness) -> None:
        self._containers = containers
        self._clock = clock
        self._randomness = randomness

    async def renewed(self, container: Container) -> Container:
        """The container as its row says now. Raises NoSuchContainer."""
        return await self._containers.get(container.account, container.name, fresh=True)

    async def on(
        self,
        container: Container,
        act: Callable[[Container], Awaitable[T]],
        *,
        pinned: bool = False,
    ) -> T:
        """`act` on the container, again on what its row says where a shard turns out to be sealed.

        pinned: only on this very container, not on one made anew under its name, because blobs were
        written whose headers say that one of its rows owns them.
        """
        waiting = _Waiting(self._clock.monotonic())
        while True:
            try:
                return await act(container)
            except SealedShard:
                current = await self.renewed(container)
            if pinned and current.head.id != container.head.id:
                raise Unavailable("the container was replaced meanwhile")
            if current.head.layout == container.head.layout:
                await self._wait(waiting, current)
            container = current

    async def _wait(self, waiting: "_Waiting", container: Container) -> None:
        """Let a move of one of its shards end, or what sealed it for no reason any more be lifted."""
        now = self._clock.monotonic()
        reshard = container.head.reshard
        if now - waiting.begun > SEALED_MAX_S:
            raise Unavailable("the container is being changed")
        if reshard is None or not reshard.move:
            waiting.unexplained += 1
            if waiting.unexplained >= SEALED_ATTEMPTS:
                raise Unavailable("the container is being changed")
            if waiting.unexplained > 1:
                await self._containers.lift_stale_seals(container)
            return
        if reshard.move != waiting.move:
            waiting.move, waiting.since, waiting.looks = reshard.move, now, 0
        if now - waiting.since > patience_s(reshard):
            with contextlib.suppress(Superseded):
                await self._containers.give_up_move(container)
            return
        waiting.looks += 1
        if waiting.looks % LOOKS_PER_LIFT == 0:  # it may be another seal that is met
            await self._containers.lift_stale_seals(container)
        await asyncio.sleep(self._randomness.uniform(0.5, 1.5) * WAIT_S)


LOOKS_PER_LIFT: Final = 20


class _Waiting:
    """What an operation has met so far. since: when it first saw the present move."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.since = begun
        self.move = b""
        self.looks = 0
        self.unexplained = 0
