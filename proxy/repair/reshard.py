"""reshard: doubles the object shards of a container that has grown, one shard after the other.

It finds containers by walking their rows: those whose reshard is under way, by this process or one that
was killed, and those with a shard of more rows than `rows_max`. What a move is made of is
`shard_move.py`; the steps that decide are `proxy/core/resharding.py`.
"""

from collections import deque
from typing import Final

from proxy.core.deletion import OPEN
from proxy.core.errors import NoSuchContainer
from proxy.core.resharding import BadShards, ContainerRow, Resharding
from proxy.core.rows import Rows
from proxy.core.seals import Superseded
from proxy.core.shards import OBJECT_SHARDS_MAX
from proxy.core.types import ContainerHead
from proxy.repair.container_walk import ContainerWalk, FoundContainer, Turns
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.shard_move import ShardMove
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock

SHARD_ROWS_MAX: Final = 250_000
"""A container with a shard of more rows than this gets twice as many shards."""

TURN_S: Final = 60.0
"""A reshard in which nothing happens for so long is carried on by the next replica's process."""


LOOKS_PER_S: Final = 50.0
"""So many containers a second have their shards counted: some 5 % of a core, however many there are."""

FAILURES_MAX: Final = 3
"""A move that failed so often in a row is left for a later round: other containers wait."""


class Resharder:
    """Reshards containers whose rows this process holds. Its pace counts those that it looks at."""

    name = "reshard"

    def __init__(
        self,
        rows: Rows,
        resharding: Resharding,
        walk: ContainerWalk,
        clock: Clock,
        pace: Pace,
        rows_max: int = SHARD_ROWS_MAX,
    ) -> None:
        self.pace = pace
        self._rows = rows
        self._resharding = resharding
        self._walk = walk
        self._clock = clock
        self._rows_max = rows_max
        self._turns = Turns(clock, TURN_S)
        self._found: deque[FoundContainer] = deque()
        self._asked: deque[ContainerRow] = deque()
        self._row: ContainerRow | None = None
        self._move: ShardMove | None = None
        self._failures = 0
        self._tally = Tally(clock)
        self._shards_moved = 0
        self._closed_s = 0.0

    def ask(self, row: ContainerRow) -> None:
        """Look at this container first."""
        self._asked.append(row)

    async def work(self) -> Worked:
        """A unit of a move, or a look at one container."""
        if self._move is not None:
            return await self._step(self._move)
        if self._asked:
            await self._take(self._asked.popleft())
            return Worked.BUSY
        if not self._found:
            page = await self._walk.page()
            if page is None:
                return Worked.IDLE
            self._found.extend(page)
            return Worked.BUSY
        await self._look(self._found.popleft())
        return Worked.BUSY

    def status(self) -> WorkerStatus:
        """See Worker."""
        name = self._row.name.decode() if self._row is not None else ""
        doing = f"container {name}: {self._move.doing}" if self._move is not None else ""
        return WorkerStatus(
            name=self.name,
            doing=doing or "looking for containers with large shards",
            done=self._tally.done,
            left=self._tally.left,
            rate_s=self._tally.rate_s,
            since_s=self._tally.since_s,
            eta_s=self._tally.eta_s,
            counts={"shards_moved": self._shards_moved},
        )

    # -- finding --------------------------------------------------------------------------------

    async def _look(self, found: FoundContainer) -> None:
        head = found.head
        if head.state != OPEN:
            return
        if head.reshard is None:
            self._turns.forget(found)
            if found.rank == 0:
                begun = self._clock.monotonic()
                if await self._too_large(head):
                    await self._ask(found.row, 2 * head.shards)
                await self.pace.spend(self._clock.monotonic() - begun, 1)
        elif self._turns.mine(found):
            await self._take(found.row)

    async def _too_large(self, head: ContainerHead) -> bool:
        """Whether any shard has too many rows; a look at one after the other: there is no hurry."""
        if head.shards >= OBJECT_SHARDS_MAX:
            return False
        for shard in head.layout.all_shards():
            if (await self._rows.count(shard)).rows > self._rows_max:
                return True
        return False

    async def _ask(self, row: ContainerRow, target: int) -> None:
        try:
            await self._resharding.ask(row, target)
        except (BadShards, NoSuchContainer, Superseded):
            return
        await self._take(row)

    async def _take(self, row: ContainerRow) -> None:
        """Begin the next move of a container, if there is one."""
        self._row, self._move = row, None
        try:
            head = await self._resharding.read(row)
        except NoSuchContainer:
            return
        if head.reshard is None or head.state != OPEN:
            return
        layout = head.layout
        self._move = ShardMove(self._rows, self._resharding, row, layout, self._clock.monotonic)
        left = (await self._rows.count(self._move.source)).rows
        self._tally.begin(left)

    # -- moving ---------------------------------------------------------------------------------

    async def _step(self, move: ShardMove) -> Worked:
        """What fails for now is tried again; each failure is the runner's to count and show."""
        assert self._row is not None
        try:
            moved = await move.step()
        except NoSuchContainer:
            self._move = None
            return Worked.BUSY
        except Superseded:  # by another process, or a deletion: see what is to do
            await self._take(self._row)
            return Worked.THROTTLED
        except Exception:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._move, self._failures = None, 0
            raise
        self._failures = 0
        self._tally.did(moved.rows, 0)
        if moved.over:
            self._shards_moved += 1
            self._closed_s = moved.closed_s
            await self._take(self._row)
        return Worked.BUSY
