"""One runner per process: a loop for each repair worker that rests, backs off, pauses and goes on.

No loop ends because of an error: what failed is counted, shown and tried again after a growing while.
A pause goes by name: it holds for all scopes, those that come later too. `tools/pauses.py` keeps the
names for the next start.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.repair.contract import Hurries, Worked, Worker, WorkerState, WorkerStatus
from proxy.repair.throttle import Throttle
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner

LOOK_AGAIN_S: Final = 60.0
"""An idle worker looks again after this long, if not told otherwise."""

THROTTLED_S: Final = 5.0
"""A worker that can't do what it has to looks again after this long."""

BACK_OFF_FIRST_S: Final = 1.0
BACK_OFF_MAX_S: Final = 300.0

SPREAD: Final = 0.2
"""Waits differ by this share, so that processes don't work in step."""


class UnknownWorker(Exception):
    """There is no worker of this name."""


def back_off_s(failures: int) -> float:
    """How long to wait after so many failures in a row (1: the first)."""
    return min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2.0 ** min(failures - 1, 30))


class Runner:
    """Runs the workers of one process. They may be added at any time."""

    def __init__(
        self,
        tasks: TaskOwner,
        throttle: Throttle,
        clock: Clock,
        randomness: Randomness,
        paused: Iterable[str] = (),
    ) -> None:
        """paused: names of workers that are paused from the beginning."""
        self._paused = set(paused)
        self._tasks = tasks
        self.throttle = throttle
        """Makes the paces of the workers."""
        self._clock = clock
        self._randomness = randomness
        self._loops: list[_Loop] = []
        self._started = False

    def add(self, worker: Worker, look_again_s: float = LOOK_AGAIN_S) -> None:
        """Take on a worker; look_again_s: what it waits when it has nothing to do."""
        loop = _Loop(worker, look_again_s, self._clock, self._randomness)
        if worker.name in self._paused:
            loop.pause()
        self._loops.append(loop)
        if self._started:
            self._spawn(loop)

    def drop(self, scope: str) -> None:
        """End the workers of a scope that is no more."""
        for loop in [one for one in self._loops if one.worker.status().scope == scope]:
            self._loops.remove(loop)
            if loop.task is not None:
                loop.task.cancel()

    def start(self) -> None:
        """Begin to work. The tasks end with their owner."""
        self._started = True
        for loop in self._loops:
            self._spawn(loop)

    def _spawn(self, loop: "_Loop") -> None:
        loop.task = self._tasks.spawn(f"repair-{loop.worker.name}", loop.run())

    def statuses(self) -> list[WorkerStatus]:
        """What each worker does, in the order in which they were added."""
        return [loop.status() for loop in self._loops]

    @property
    def names(self) -> frozenset[str]:
        """Of the workers."""
        return frozenset(loop.worker.name for loop in self._loops)

    def pause(self, name: str) -> None:
        """Stop after the present unit, until `resume`. Raises UnknownWorker."""
        self._named(name)
        self._paused.add(name)
        for loop in self._named(name):
            loop.pause()

    def resume(self, name: str) -> None:
        """Go on where it was paused. Raises UnknownWorker."""
        self._paused.discard(name)
        for loop in self._named(name):
            loop.resume()

    def run_now(self, name: str) -> None:
        """Look at once, without waiting for the interval or the back-off. Raises UnknownWorker.

        A paused worker stays paused.
        """
        for loop in self._named(name):
            if isinstance(loop.worker, Hurries):
                loop.worker.hurry()
            loop.wake()

    def look(self) -> None:
        """Something has changed for all: each looks at once, as with `run_now`."""
        for loop in self._loops:
            loop.wake()

    def _named(self, name: str) -> "list[_Loop]":
        found = [loop for loop in self._loops if loop.worker.name == name]
        if not found:
            raise UnknownWorker(name)
        return found


def _cancelled() -> bool:
    """Whether it is this very task that is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Loop:
    """One worker on its way."""

    def __init__(
        self,
        worker: Worker,
        look_again_s: float,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.worker = worker
        self.task: asyncio.Task[None] | None = None
        self._look_again_s = look_again_s
        self._clock = clock
        self._randomness = randomness
        self._state = WorkerState.IDLE
        self._paused = False
        self._wake = asyncio.Event()
        self._failures = 0
        self._last_error = ""
        self._error_at_s = 0.0

    def status(self) -> WorkerStatus:
        state = self._state
        if state is WorkerState.WORKING and self.worker.pace.resting:
            state = WorkerState.THROTTLED
        return msgspec.structs.replace(
            self.worker.status(),
            state=WorkerState.PAUSED if self._paused else state,
            last_error=self._last_error,
            error_at_s=self._error_at_s,
        )

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """For ever; to be cancelled. Who is woken in the middle of a round looks once more after it."""
        while True:
            while self._paused:
                await self._woken(None)
            await self._woken(await self._unit())

    async def _unit(self) -> float:
        """One unit of work; how long to wait after it."""
        self._state = WorkerState.WORKING
        pace = self.worker.pace
        begun = self._clock.monotonic() - pace.rested_s
        try:
            worked = await self.worker.work()
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            return self._failed(error)  # of something that it waited for
        except Exception as error:  # whatever it is: the work must go on
            return self._failed(error)
        self._failures = 0
        match worked:
            case Worked.BUSY:
                await pace.spend(self._clock.monotonic() - pace.rested_s - begun)
                return 0.0
            case Worked.THROTTLED:
                self._state = WorkerState.THROTTLED
                return self._spread(THROTTLED_S)
            case Worked.IDLE:
                self._state = WorkerState.IDLE
                return self._spread(self._look_again_s)

    def _failed(self, error: BaseException) -> float:
        self._failures += 1
        self._state = WorkerState.FAILING
        self._last_error = f"{type(error).__name__}: {error}"
        self._error_at_s = self._clock.now_ns() / 1e9
        return self._spread(back_off_s(self._failures))

    def _spread(self, wait_s: float) -> float:
        return wait_s * self._randomness.uniform(1 - SPREAD, 1 + SPREAD)

    async def _woken(self, wait_s: float | None) -> None:
        """Wait for so long (None: for ever), or until someone wakes the worker."""
        if wait_s == 0.0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        self._wake.clear()
