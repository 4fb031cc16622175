"""A worker's part in a ring change: it settles its newcomers and says how far it is."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from proxy.cluster.settle import Settler
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, DeviceFault
from storage.node import NodeClient, Progress

ASK_TIME_S: Final = 3.0
"""How long another process may take to say how far it is."""


class Away(NamedTuple):
    """What this process's devices hold that belongs elsewhere. unknown: devices that can't tell yet."""

    leftovers: int = 0
    misplaced: int = 0
    misplaced_bytes: int = 0
    unknown: int = 0


class Changing:
    """own: the devices of this process. others: the processes of the cluster that can be asked.

    away: what the repair workers know of an epoch.
    """

    def __init__(
        self,
        settler: Settler,
        own: Mapping[int, DeviceClient],
        others: Callable[[], Iterable[NodeClient]],
        away: Callable[[int], Away],
        epoch: Callable[[], int],
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._settler = settler
        self._own = own
        self._others = others
        self._away = away
        self._epoch = epoch
        self._clock = clock
        self._tasks = tasks
        self._settling: asyncio.Task[None] | None = None

    async def adopted(self, ring: Ring) -> None:
        """Settle what is new here in this ring; what an older one brought has been settled, or is
        nobody's any more."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])
        settle = partial(self._settler.settle, ring, tuple(self._own))
        self._settling = self._tasks.keep(f"settle epoch {ring.epoch}", settle)

    def progress(self) -> Progress:
        """How far this process is."""
        settler, epoch = self._settler, self._epoch()
        if settler.epoch != epoch:
            return Progress(epoch, 0, 1)
        away = self._away(epoch)
        unsettled = settler.unsettled if settler.joint else away.unknown
        return Progress(
            epoch,
            settler.settled,
            unsettled,
            away.leftovers,
            away.misplaced,
            away.misplaced_bytes,
        )

    async def everyone(self) -> Sequence[Progress | None]:
        """How far each process of the cluster is; None for one that can't say."""
        return [self.progress(), *await asyncio.gather(*map(self._try_ask, self._others()))]

    async def _try_ask(self, process: NodeClient) -> Progress | None:
        try:
            return await process.progress(self._clock.monotonic() + ASK_TIME_S)
        except DeviceFault:
            return None
