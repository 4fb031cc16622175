"""ring: carries a ring change to its end, epoch by epoch.

An epoch that moves rows is joint until every newcomer is settled; then the next one names the new sets
alone. Blobs and what is left of rows move meanwhile and afterwards (`rebalance`). When nothing is away
from home any more, and the ring is not balanced yet because a step moves one replica of a partition at
most, the next step is planned and made.

Every keeper node runs one of these. Two that want the same are harmless: the register takes one epoch
after another, and the loser looks again.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from proxy.cluster.register import RingRegister, StaleRing
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.builder import apply, plan
from ring.epochs import is_joint, settled
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from storage.node import Progress

LOOK_AGAIN_S: Final = 5.0

JOINT_LOOK_S: Final = 0.5
"""How often it looks whether the newcomers of a joint epoch are settled."""

NS_PER_S: Final = 1_000_000_000


class Act(enum.Enum):
    """What the ring needs next."""

    NOTHING = "nothing to do"
    WAIT = "waiting"
    SETTLE = "the new sets alone"
    PLAN = "the next step"


class Needed(NamedTuple):
    """act, and why it is not more. settled, expected: newcomers of a joint epoch. unknown: devices that
    have not been looked through in an epoch that is not."""

    act: Act
    why: str
    settled: int = 0
    expected: int = 0
    misplaced: int = 0
    misplaced_bytes: int = 0
    unknown: int = 0


def needed(ring: Ring, progress: Sequence[Progress | None], *, balanced: bool) -> Needed:
    """Decide from what every process of the ring's nodes says; None: it does not answer.

    balanced: nothing is left to plan for this ring.
    """
    present = [one for one in progress if one is not None and one.epoch == ring.epoch]
    away = len(progress) - len(present)
    misplaced = sum(one.misplaced + one.leftovers for one in present)
    misplaced_bytes = sum(one.misplaced_bytes for one in present)
    if is_joint(ring, ROWS):
        expected = len(ring.steps[ROWS][-1])
        done = sum(one.settled for one in present)
        act = Act.SETTLE if done == expected else Act.WAIT
        why = f"{done:,} of {expected:,} newcomers are settled"
        return Needed(act, why, done, expected, misplaced, misplaced_bytes)
    unknown = sum(one.unsettled for one in present)
    if away:
        who = "process is" if away == 1 else "processes are"
        why = f"{away} {who} away or not at epoch {ring.epoch}"
        return Needed(Act.WAIT, why, 0, 0, misplaced, misplaced_bytes, unknown)
    if misplaced:
        why = f"{misplaced:,} blobs and shards are not at home"
        return Needed(Act.WAIT, why, 0, 0, misplaced, misplaced_bytes, unknown)
    if unknown:
        why = f"{unknown:,} devices have not been looked through yet"
        return Needed(Act.WAIT, why, unknown=unknown)
    return Needed(Act.NOTHING if balanced else Act.PLAN, "")


class RingChange:
    """See the module. ring: the present one. progress: asks every process of the ring's nodes."""

    name = "ring"

    def __init__(
        self,
        register: RingRegister,
        ring: Callable[[], Ring],
        progress: Callable[[], Awaitable[Sequence[Progress | None]]],
        clock: Clock,
        pace: Pace,
        poke: Callable[[], None],
    ) -> None:
        """poke: there is a newer ring to follow."""
        self.pace = pace
        self._register = register
        self._ring = ring
        self._progress = progress
        self._clock = clock
        self._poke = poke
        self._tally = Tally(clock)
        self._balanced_epoch = 0
        self._epoch = 0
        self._last = Needed(Act.NOTHING, "")
        self._made = 0

    async def work(self) -> Worked:
        """Look, and make the next epoch where it is time."""
        ring = self._ring()
        found = needed(ring, await self._progress(), balanced=self._balanced_epoch == ring.epoch)
        self._note(ring, found)
        if found.act is Act.WAIT:
            if not found.expected:
                return Worked.THROTTLED
            await asyncio.sleep(JOINT_LOOK_S)  # requests cost more in a joint epoch: it is soon over
            return Worked.BUSY
        if found.act is Act.NOTHING:
            return Worked.IDLE
        if found.act is Act.SETTLE:
            await self._make(settled(ring))
            return Worked.BUSY
        following = await self._planned(ring)
        if following is None:
            self._balanced_epoch = ring.epoch
            return Worked.IDLE
        await self._make(following)
        return Worked.BUSY

    async def _planned(self, ring: Ring) -> Ring | None:
        """The ring after one more step, None where it is balanced. Seconds of work for a large ring."""
        now_s = self._clock.now_ns() // NS_PER_S
        loop = asyncio.get_running_loop()
        step = await loop.run_in_executor(None, plan, ring, None, now_s)
        return apply(ring, step) if step.changes_ring else None

    async def _make(self, ring: Ring) -> None:
        try:
            await self._register.replace(ring)
            self._made += 1
        except StaleRing:
            pass  # another keeper's worker, or the operator, was first
        self._poke()

    def _note(self, ring: Ring, found: Needed) -> None:
        if ring.epoch != self._epoch:
            self._epoch = ring.epoch
            self._tally.begin(found.expected)
        if found.expected:
            self._tally.did(found.settled - self._tally.done, 0)
        self._last = found

    def status(self) -> WorkerStatus:
        """See Worker."""
        found, tally = self._last, self._tally
        return WorkerStatus(
            name=self.name,
            doing=found.why,
            done=found.settled,
            left=found.expected - found.settled + found.misplaced,
            left_bytes=found.misplaced_bytes,
            rate_s=tally.rate_s,
            since_s=tally.since_s,
            eta_s=tally.eta_s,
            counts={"epochs_made": self._made},
        )
