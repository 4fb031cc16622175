"""Lanes: where a device's blocking disk work runs, one job after the other, away from the event loop.

A lane is an argument, so that a crash test or a simulation runs the same jobs inline and in order.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Work = Callable[[], Any]
Done = Callable[[Any], None]


class Lane(Protocol):
    """Carries out jobs in order."""

    def submit(self, work: Work, done: Done) -> None:
        """Run `work` off the loop, then call `done` on the loop with its result or its exception."""

    async def close(self) -> None:
        """Wait for the jobs submitted so far and their `done` calls, then end. Idempotent."""


LaneFactory = Callable[[str], Lane]
"""Makes a lane by name; called on the running loop."""


class ThreadLane:
    """One thread, started with the first job.

    A SimpleQueue and `call_soon_threadsafe` cost about a third of what `run_in_executor` and its two
    futures do, and the journal pays this hand-off once per group commit.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Work, Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Work, done: Done) -> None:
        if self._closed:
            raise RuntimeError(f"lane {self._name} is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((work, done))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            outcome = _outcome(work)
            try:
                self._loop.call_soon_threadsafe(done, outcome)
            except RuntimeError:  # the loop was closed under us: nobody is left to tell
                return

    async def close(self) -> None:
        if self._closed or self._thread is None:
            self._closed = True
            return
        ended: asyncio.Future[None] = self._loop.create_future()
        self.submit(lambda: None, lambda _: settle(ended, None))
        self._closed = True
        self._jobs.put(None)
        await ended
        self._thread.join()


class InlineLane:
    """Runs each job at once on the loop; `done` follows in a later loop turn, in order."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()

    def submit(self, work: Work, done: Done) -> None:
        self._loop.call_soon(done, _outcome(work))

    async def close(self) -> None:
        ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_soon(settle, ended, None)
        await ended


T = TypeVar("T")


def settle(future: "asyncio.Future[T]", result: T) -> None:
    """Set a future's result, unless whoever waited was cancelled."""
    if not future.done():
        future.set_result(result)


def _outcome(work: Work) -> Any:
    try:
        return work()
    except Exception as error:  # handed to `done`, which decides
        return error
