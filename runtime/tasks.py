"""The one way to start a task that outlives the call: a named task with an owner that reaps it.

`asyncio.create_task` is not used elsewhere: a task without an owner is dropped by the garbage
collector and its exception with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Generic, TypeVar

ANEW_FIRST_S: Final = 1.0
"""Before work that must go on is begun anew after its first error."""

ANEW_MAX_S: Final = 60.0


class TaskOwner:
    """Owns background tasks: keeps them alive, reports their failures, cancels them at close.

    on_failure: called with (task name, exception) for a task that ends with an error.
    """

    def __init__(self, name: str, on_failure: Callable[[str, BaseException], None]) -> None:
        self._name = name
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start `work` as a task named `<owner>/<name>`."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Like `spawn`, for what no error may end: it is reported, and `work` begun anew a while later.
        It is over when `work` returns."""
        return self.spawn(name, self._kept(name, work))

    async def _kept(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        wait_s = ANEW_FIRST_S
        while True:
            try:
                await work()
                return
            except Exception as error:
                self._on_failure(f"{self._name}/{name}", error)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, ANEW_MAX_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel every task and wait until each has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of `works` at once; their values in order.

    Where one fails the others are cancelled, and have ended when its error is raised (unlike
    asyncio.gather, which lets them run on); of several errors the first is raised.
    """
    tasks = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def unless_slow(
    works: Iterable[Coroutine[Any, Any, None]], enough: Callable[[], bool], patience_s: float
) -> None:
    """Do all of `works` at once, until all have ended, or `enough()` and `patience_s` more have passed.

    Those that still run then are cancelled, and have ended on return. Errors are as in `together`.
    """
    try:
        async with asyncio.TaskGroup() as group:
            pending = {group.create_task(work) for work in works}
            while pending and not enough():
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                _, pending = await asyncio.wait(pending, timeout=patience_s)
            for task in pending:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ended(tasks: list[asyncio.Task[Any]]) -> asyncio.CancelledError | None:
    """Cancel tasks and wait until all have ended; the cancellation that came meanwhile, if one did."""
    cancelled = None
    for task in tasks:
        task.cancel()  # once: what it does at its end must not be interrupted
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


class Race(Generic[T]):
    """Works towards one end, begun one after the other: hedged requests (Dean and Barroso, 2013).

    Use as an async context manager: what still runs when the block is left is cancelled and awaited.
    good: values by number, in the order in which they came. failed: errors of the kind `failing`; any
    other is raised by `step`. undo: done to every value that nobody has taken when the block is left.
    """

    def __init__(
        self, failing: type[Exception], undo: Callable[[T], Awaitable[None]] | None = None
    ) -> None:
        self.good: dict[int, T] = {}
        self.failed: dict[int, Exception] = {}
        self._failing = failing
        self._undo = undo
        self._running: dict[asyncio.Task[T], int] = {}

    async def __aenter__(self) -> "Race[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks, self._running = list(self._running), {}
        cancelled = await _ended(tasks)
        if self._undo is not None:
            late = [t.result() for t in tasks if not t.cancelled() and t.exception() is None]
            await asyncio.gather(*map(self._undo, [*self.good.values(), *late]))
        if cancelled is not None:
            raise cancelled

    def take(self) -> T:
        """The value that came first; it is not undone. One must be there."""
        return self.good.pop(next(iter(self.good)))

    @property
    def running(self) -> set[int]:
        """Numbers of the works under way."""
        return set(self._running.values())

    @property
    def begun(self) -> set[int]:
        """Numbers of all works begun so far."""
        return self.running | self.good.keys() | self.failed.keys()

    def start(self, number: int, work: Coroutine[Any, Any, T]) -> None:
        """Begin one more."""
        self._running[asyncio.get_running_loop().create_task(work)] = number

    async def step(self, within_s: float | None) -> bool:
        """Wait until one of them ends, or all have; False where none has within the time."""
        done, _ = await asyncio.wait(
            self._running, timeout=within_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in [task for task in self._running if task in done]:  # in order: runs can be replayed
            error = task.exception()
            if error is None:
                self.good[self._running.pop(task)] = task.result()
            elif isinstance(error, self._failing):
                self.failed[self._running.pop(task)] = error
            else:
                del self._running[task]
                raise error
        return bool(done)


class Ahead(Generic[T]):
    """One piece of work that runs while its owner prepares or uses another: double buffering.

    Use as an async context manager: what still runs when the block is left is cancelled and awaited.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[T] | None = None

    async def __aenter__(self) -> "Ahead[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, T]) -> None:
        """Begin `work`; the one before must have been awaited by `result`."""
        assert self._task is None
        self._task = asyncio.get_running_loop().create_task(work, name=self._name)

    @property
    def busy(self) -> bool:
        """Work was started and its result not yet taken."""
        return self._task is not None

    async def result(self) -> T:
        """Wait for the work; its value or its error."""
        assert self._task is not None
        task = self._task
        value = await task
        self._task = None
        return value
