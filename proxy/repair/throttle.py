"""Background work yields to requests: what their latency is, and how long a worker rests because of it.

`ForegroundLatency` is told how long row operations took; it compares their root mean square of the last
seconds with what it is when the store is calm. (A mean hardly moves when one request of a hundred waits
behind the sync of a copy, and it is those requests that people feel.) Where it is above its target,
background work gets a smaller share of the time, but never less than SHARE_MIN: a store under load for
ever would else lose what it can't rebuild. Reads and writes are kept apart, because a change of their
mix is no change of their latency.

Rests alone do not help: what a request's sync waits for is the syncs of all the blobs that are being
copied at that moment. So while there are requests, few blobs are copied at the same time (`Turns`): one
more each second as long as latency allows, half as many where it does not. Without requests there is no
such limit.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from runtime.clock import Clock

READ: Final = 0
WRITE: Final = 1

FOLD_S: Final = 0.1
"""Latencies are added up for so long before they are looked at."""

DECAY_S: Final = 2.0
"""Time constant of the present latency."""

CALM_RISES_S: Final = 300.0
"""Time constant with which the calm latency rises where it is not met again."""

FLOORS_S: Final = (0.002, 0.005)
"""Of reads and writes: below this nobody waits for anybody."""

STALE_S: Final = 5.0
"""Latencies older than this say nothing: there are no requests."""

SHARE_MIN: Final = 0.1
"""Background work gets this share of its time at least."""

REST_MAX_S: Final = 5.0

BURST_S: Final = 1.0
"""A limited rate may be ahead of itself by so much."""

TURNS_FIRST: Final = 2
"""Blobs copied at the same time by a process when requests come, and at least: with only one the disk
has nothing to do while that is read or synced, and no request is the quicker for it."""

TURNS_MAX: Final = 64
"""Without requests, and at most: each holds some megabytes."""

TURNS_CHANGE_S: Final = 1.0
"""How often their number changes, and whoever waits for one looks whether there are still requests."""


class Latency(NamedTuple):
    """Of one kind of operation: root mean squares, of late and when calm, in seconds. 0: not known."""

    present_s: float
    calm_s: float
    floor_s: float


def share(latencies: tuple[Latency, ...], factor: float) -> float:
    """The share of its time that background work may work, SHARE_MIN … 1.

    factor: how many times its calm latency an operation may take. Twice the target makes a quarter.
    """
    excess = 1.0
    for latency in latencies:
        target_s = max(latency.floor_s, latency.calm_s * factor)
        excess = max(excess, latency.present_s / target_s)
    return max(SHARE_MIN, 1 / excess**2)


def rest_s(worked_s: float, share: float) -> float:
    """How long to rest after working for `worked_s`."""
    return min(REST_MAX_S, max(0.0, worked_s) * (1 / share - 1))


class ForegroundLatency:
    """How long the operations of requests take, against how long they take when the store is calm."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._squares = [0.0, 0.0]
        self._counts = [0, 0]
        self._present = [0.0, 0.0]  # squared
        self._calm = [math.inf, math.inf]
        self._heard_at = [-math.inf, -math.inf]
        self._folded_at = clock.monotonic()

    def note(self, kind: int, elapsed_s: float) -> None:
        """An operation of a request has ended. On the path of each: a few additions, 0.2 us."""
        self._squares[kind] += elapsed_s * elapsed_s
        self._counts[kind] += 1

    def latencies(self) -> tuple[Latency, ...]:
        """Of reads and of writes, now."""
        self._fold()
        return tuple(
            Latency(math.sqrt(self._present[kind]), 0.0 if math.isinf(calm) else calm, FLOORS_S[kind])
            for kind, calm in enumerate(self._calm)
        )

    def _fold(self) -> None:
        now = self._clock.monotonic()
        passed_s = now - self._folded_at
        if passed_s < FOLD_S:
            return
        self._folded_at = now
        for kind in (READ, WRITE):
            self._fold_kind(kind, now, passed_s)

    def _fold_kind(self, kind: int, now: float, passed_s: float) -> None:
        count = self._counts[kind]
        if count:
            mean = self._squares[kind] / count
            fresh = now - self._heard_at[kind] < STALE_S
            weight = 1 - math.exp(-passed_s / DECAY_S) if fresh else 1.0
            self._present[kind] += weight * (mean - self._present[kind])
            risen_s = self._calm[kind] * math.exp(passed_s / CALM_RISES_S)
            self._calm[kind] = min(risen_s, math.sqrt(self._present[kind]))
            self._heard_at[kind] = now
            self._squares[kind], self._counts[kind] = 0.0, 0
        elif now - self._heard_at[kind] >= STALE_S:
            self._present[kind] = 0.0


class Throttle:
    """One process's: makes the paces of its workers. factor: as of `share`."""

    def __init__(self, latency: ForegroundLatency, clock: Clock, factor: float) -> None:
        self._latency = latency
        self._factor = factor
        self.clock = clock
        self.turns = Turns(self)

    def share(self) -> float:
        """The share of its time that background work may work now."""
        return share(self._latency.latencies(), self._factor)

    def beside_requests(self) -> bool:
        """There were requests within the last STALE_S."""
        return any(latency.present_s > 0 for latency in self._latency.latencies())

    def pace(self, bytes_s: float = 0.0) -> "Pace":
        """A worker's pace, at most so many bytes a second; 0: without a limit."""
        return Pace(self, bytes_s)


def next_turns(allowed: int, under_way: int, share: float) -> int:
    """How many turns there are from now on; one more only where all there were are taken."""
    if share < 1.0:
        return max(TURNS_FIRST, allowed // 2)
    return min(TURNS_MAX, allowed + (under_way >= allowed))


class Turns:
    """How many blobs one process copies at the same time; who waits gets on in the order of coming."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._under_way = 0
        self._allowed = TURNS_FIRST
        self._changed_at = throttle.clock.monotonic()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Returns when one more blob may be copied; `give_back` must follow."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=TURNS_CHANGE_S)
                self._admit()
        except asyncio.CancelledError:
            if turn.done():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """The blob is copied, or is not."""
        self._under_way -= 1
        self._admit()

    def _admit(self) -> None:
        limit = self._limit()
        while self._waiting and self._under_way < limit:
            self._under_way += 1
            self._waiting.popleft().set_result(None)

    def _limit(self) -> int:
        if not self._throttle.beside_requests():
            self._allowed = TURNS_FIRST
            return TURNS_MAX
        now = self._throttle.clock.monotonic()
        if now - self._changed_at >= TURNS_CHANGE_S:
            self._changed_at = now
            self._allowed = next_turns(self._allowed, self._under_way, self._throttle.share())
        return self._allowed


class Pace:
    """Makes one worker rest: for requests, and for its own limit of bytes a second."""

    def __init__(self, throttle: Throttle, bytes_s: float) -> None:
        self._throttle = throttle
        self.bytes_s = bytes_s
        self._paid_until = -math.inf
        self._resting = 0
        self.rested_s = 0.0
        """Since it was made."""

    @property
    def resting(self) -> bool:
        """Someone rests just now."""
        return self._resting > 0

    async def spend(self, worked_s: float, size_bytes: int = 0) -> None:
        """Rest as `worked_s` of work on `size_bytes` ask for. Lets others run in any case."""
        wait_s = max(rest_s(worked_s, self._throttle.share()), self._owed_s(size_bytes))
        self._resting += wait_s > 0
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._resting -= wait_s > 0
            self.rested_s += wait_s

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """While this is open a blob may be copied. Waiting for it is rest."""
        turns, clock = self._throttle.turns, self._throttle.clock
        begun = clock.monotonic()
        self._resting += 1
        try:
            await turns.take()
        finally:
            self._resting -= 1
            self.rested_s += clock.monotonic() - begun
        try:
            yield
        finally:
            turns.give_back()

    def _owed_s(self, size_bytes: int) -> float:
        if not self.bytes_s:
            return 0.0
        now = self._throttle.clock.monotonic()
        begin = max(self._paid_until, now - BURST_S)
        self._paid_until = begin + size_bytes / self.bytes_s
        return max(0.0, self._paid_until - now)
