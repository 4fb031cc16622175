"""Admission: how many requests a worker works on at once, who waits, and who is refused at once.

A request runs while the worker works on it, not while it waits for its client: a slow client costs
memory, but no turn. When too many run, others wait, first come, first served. While waits stay short
that is all: a burst passes, and clients that wait for their answers find the store at its best. When no
wait has been short for a while the queue is a standing one and helps nobody (Nichols and Jacobson,
"Controlling Queue Delay", 2012): whoever comes then is refused, before anything is read of the body,
until waits are short again; and so is whoever could expect a long wait at the rate of late. How many
may run is cut where the event loop itself falls behind.

Bodies and answers that do not fit a row are bounded by their number, however slow their clients are:
an upload holds up to some 11 MiB (measured with ec-4-2: what has arrived, a segment on its way, what
the writers of six fragments collect). `Gate` decides; `Admission` keeps the queue and the timer.
"""

import asyncio
import enum
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from proxy.core.errors import Overloaded

RUNNING_MAX: Final = 256
"""Requests of one worker that are worked on at once. 64 keep its devices' group commits full."""

RUNNING_MIN: Final = 32
"""So many are, however far the loop falls behind."""

RUNNING_CUT: Final = 0.8
RUNNING_STEP: Final = 8
"""How the limit falls with each tick in which the loop was late, and rises with each other one."""

LAG_TARGET_S: Final = 0.1
"""A loop that runs what is due this much later has too much to do."""

WAITING_MAX: Final = 4096
WAITING_MAX_BYTES: Final = 64 * 1024 * 1024
"""Requests that wait for their turn, and what may be buffered of their bodies meanwhile."""

WAIT_TARGET_S: Final = 0.25
WAIT_INTERVAL_S: Final = 0.5
"""Where no wait was shorter than the first within the second, the queue is a standing one."""

WAIT_EXPECTED_MAX_S: Final = 0.5
"""Nor does anyone join a queue that takes longer at the rate of late."""

RATE_WEIGHT: Final = 0.2
"""What one tick counts in that rate: a sync that takes two of them is no slow queue yet."""

WAIT_MAX_S: Final = 2.0
"""Who has waited so long is refused: most clients are about to give up."""

UPLOADS_MAX: Final = 128
"""Bodies of one worker that are taken in at once: at most some 1.4 GiB."""

DOWNLOADS_MAX: Final = 512
"""Answers of one worker that are sent in pieces at once. Most of what they hold is page cache."""

TICK_S: Final = 0.1


class Verdict(enum.StrEnum):
    """What becomes of a request. All but two are refusals, under the names of their events."""

    RUN = "run"
    WAIT = "wait"
    QUEUE_FULL = "refused_queue_full"
    QUEUE_SLOW = "refused_queue_slow"
    WAITED_LONG = "refused_waited_long"
    UPLOADS_FULL = "refused_uploads_full"
    DOWNLOADS_FULL = "refused_downloads_full"


class Gate:
    """The decisions, without a queue or a clock of its own. Times are instants in seconds."""

    __slots__ = (
        "_limit_max", "_rate_s", "_short_at", "_turns", "limit", "running", "waiting", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, running_max: int = RUNNING_MAX) -> None:
        self.limit = self._limit_max = running_max
        self.running = 0
        self.waiting = 0
        self.waiting_bytes = 0
        self._short_at = 0.0
        """When a wait was short last: that of an empty queue is none."""
        self._turns = 0
        self._rate_s: float | None = None
        """Turns a second that the present queue has had; None while there is none, or nobody knows."""

    def arrives(self, body_bytes: int, now: Callable[[], float]) -> Verdict:
        """A request has come, of whose body so much may be buffered while it waits."""
        if self.running < self.limit and not self.waiting:
            return Verdict.RUN
        if self.waiting >= WAITING_MAX or self.waiting_bytes + body_bytes > WAITING_MAX_BYTES:
            return Verdict.QUEUE_FULL
        at = now()
        if not self.waiting:
            self._short_at = at
        if at - self._short_at > WAIT_INTERVAL_S:
            return Verdict.QUEUE_SLOW
        if self._rate_s is not None and self.waiting > self._rate_s * WAIT_EXPECTED_MAX_S:
            return Verdict.QUEUE_SLOW
        return Verdict.WAIT

    def waited(self, wait_s: float, now: float) -> None:
        """A request that waited has its turn now."""
        self._turns += 1
        if wait_s < WAIT_TARGET_S:
            self._short_at = now

    def ticked(self, lag_s: float) -> None:
        """A tick is over, and the loop ran what was due then `lag_s` late."""
        rate_s = self._turns / (TICK_S + lag_s)
        self._turns = 0
        if not self.waiting:
            self._rate_s = None
        elif self._rate_s is None:
            self._rate_s = rate_s or None
        else:
            self._rate_s += (rate_s - self._rate_s) * RATE_WEIGHT
        if lag_s > LAG_TARGET_S:
            self.limit = max(min(RUNNING_MIN, self._limit_max), int(self.limit * RUNNING_CUT))
        else:
            self.limit = min(self._limit_max, self.limit + RUNNING_STEP)


class AdmissionStatus(msgspec.Struct, frozen=True):
    """What one worker has admitted. limit: how many may run now."""

    running: int
    limit: int
    waiting: int
    waiting_bytes: int
    uploads: int
    downloads: int


class Slot:
    """The turn of one request, from its admission to its end."""

    __slots__ = ("_admission", "_downloads", "_over", "_runs", "_uploads")

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._runs = True
        self._uploads = self._downloads = False
        self._over = False

    def pause(self) -> None:
        """From now on the request waits for its client."""
        if self._runs:
            self._runs = False
            self._admission.stopped()

    def resume(self) -> None:
        """The client has sent or taken something: the request goes on at once, whoever else waits."""
        if not self._runs and not self._over:
            self._runs = True
            self._admission.gate.running += 1

    def upload(self) -> None:
        """The request's body does not fit a row. Raises Overloaded where there are too many."""
        self._admission.begin_upload()
        self._uploads = True

    def download(self) -> None:
        """Nor does its answer."""
        if not self._downloads:
            self._admission.begin_download()
            self._downloads = True

    def end(self) -> None:
        """The request is over. Idempotent."""
        if not self._over:
            self._over = True
            self._admission.uploads -= self._uploads
            self._admission.downloads -= self._downloads
            self.pause()


class _Waiter:
    """A request that waits for its turn."""

    __slots__ = ("body_bytes", "since", "turn")

    def __init__(self, body_bytes: int, since: float) -> None:
        self.body_bytes = body_bytes
        self.since = since
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Admission:
    """One worker's admission. count: told the name of each refusal."""

    def __init__(self, count: Callable[[str], None], running_max: int = RUNNING_MAX) -> None:
        self.gate = Gate(running_max)
        self.uploads = self.downloads = 0
        self._count = count
        self._queue: deque[_Waiter] = deque()
        self._due: float | None = None

    def status(self) -> AdmissionStatus:
        """How it is now."""
        gate = self.gate
        return AdmissionStatus(
            gate.running, gate.limit, gate.waiting, gate.waiting_bytes, self.uploads, self.downloads
        )

    async def enter(self, body_bytes: int) -> Slot:
        """Wait for a turn; body_bytes of its body may be buffered meanwhile. Raises Overloaded."""
        loop = asyncio.get_running_loop()
        if self._due is None:
            self._arm(loop)
        verdict = self.gate.arrives(body_bytes, loop.time)
        if verdict is Verdict.RUN:
            self.gate.running += 1
            return Slot(self)
        if verdict is not Verdict.WAIT:
            raise self._refusal(verdict)
        await self._wait(_Waiter(body_bytes, loop.time()))
        return Slot(self)

    async def _wait(self, waiter: _Waiter) -> None:
        gate = self.gate
        gate.waiting += 1
        gate.waiting_bytes += waiter.body_bytes
        self._queue.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and not waiter.turn.exception():
                self.stopped()  # it had its turn already
            raise
        finally:
            gate.waiting -= 1
            gate.waiting_bytes -= waiter.body_bytes

    def stopped(self) -> None:
        """A request runs no longer: the next one has its turn."""
        gate = self.gate
        gate.running -= 1
        if self._queue:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        gate, now = self.gate, asyncio.get_running_loop().time()
        while self._queue and gate.running < gate.limit:
            waiter = self._queue.popleft()
            if not waiter.turn.done():
                gate.running += 1
                gate.waited(now - waiter.since, now)
                waiter.turn.set_result(None)

    def begin_upload(self) -> None:
        """Raises Overloaded where there are too many."""
        if self.uploads >= UPLOADS_MAX:
            raise self._refusal(Verdict.UPLOADS_FULL)
        self.uploads += 1

    def begin_download(self) -> None:
        """The same."""
        if self.downloads >= DOWNLOADS_MAX:
            raise self._refusal(Verdict.DOWNLOADS_FULL)
        self.downloads += 1

    def _refusal(self, verdict: Verdict) -> Overloaded:
        self._count(verdict.value)
        return Overloaded(verdict.value)

    # -- the timer -------------------------------------------------------------------------------

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + TICK_S
        loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        assert self._due is not None
        self.gate.ticked(now - self._due)
        self._due = None
        while self._queue and now - self._queue[0].since > WAIT_MAX_S:
            waiter = self._queue.popleft()
            if not waiter.turn.done():
                waiter.turn.set_exception(self._refusal(Verdict.WAITED_LONG))
        self._admit_waiting()  # the limit may have risen
        if self.gate.running or self._queue:
            self._arm(loop)
