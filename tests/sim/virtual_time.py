"""Virtual time and lives: an event loop that never waits and never asks the machine for anything.

Its clock jumps to the next timer. Tasks hash by their number, not by their address, so that sets of
tasks have one order in every run. A `Life` is one run of a process: tasks, timers and callbacks that
begin in its context belong to it, and end with it.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

START_NS = 1_700_000_000 * 10**9


class Stuck(Exception):
    """Every task waits for something that will never come."""


class Life:
    """One run of a process, from its start to its end or crash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.at_end: dict[object, Callable[[], object]] = {}
        """What others are to be told of its end, by who wants to know."""
        self.context = copy_context()
        self.context.run(_OWNER.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start `work` as a task of this life."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())

    def soon(self, delay_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Run a callback of this life later, unless it has ended."""
        loop = asyncio.get_running_loop()
        return loop.call_later(delay_s, self._if_alive, callback, context=self.context)

    def _if_alive(self, callback: Callable[[], object]) -> None:
        if self.alive:
            callback()

    def end(self) -> None:
        """Nothing of it runs on but what its tasks do when they are cancelled, behind closed doors."""
        self.alive = False
        for callback in list(self.at_end.values()):
            callback()
        for task in list(self.tasks):
            task.cancel()
        for delay_s in FORGOTTEN_AFTER_S:
            asyncio.get_running_loop().call_later(delay_s, self._forget_timers, context=Context())

    def _forget_timers(self) -> None:
        """The watches over devices would tick for ever: what they wait for never comes any more."""
        loop: Any = asyncio.get_running_loop()
        for handle in loop._scheduled:
            ticks = getattr(handle._callback, "__qualname__", "") == "Guard._tick"
            if ticks and handle._context.get(_OWNER) is self:
                handle.cancel()


FORGOTTEN_AFTER_S = (1.0, 15.0)
"""Twice, some time after a life's end: its tasks have ended by then."""

_OWNER: ContextVar[Life | None] = ContextVar("owner", default=None)


def owner() -> Life | None:
    """The life that the running code belongs to; None for the world around the processes."""
    return _OWNER.get()


_numbers = count()


class _Task(asyncio.Task[Any]):
    def __init__(self, coro: Any, **options: Any) -> None:
        self._number = next(_numbers)
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None
) -> asyncio.Future[Any]:
    context = context or copy_context()
    task = _Task(coro, loop=loop, context=context)
    life = context.get(_OWNER)
    if life is not None:
        life.tasks[task] = None
        task.add_done_callback(lambda done: life.tasks.pop(done, None))
        if not life.alive:
            task.cancel()
    return task


class _JumpingSelector(selectors.BaseSelector):
    """Has no files. The time that it is to wait passes at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self.now += max(0.0, timeout)
        return []


class TimedExecutor(Protocol):
    """What `run_in_executor` gives work to: it takes virtual time there."""

    def start(self, work: Callable[[], Any], done: "asyncio.Future[Any]") -> None:
        """Run `work`, and tell `done` how it ended some time later."""


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> "asyncio.Future[Any]":
        done: asyncio.Future[Any] = self.create_future()
        if executor is not None:
            executor.start(lambda: func(*args), done)
            return done
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def run(work: Coroutine[Any, Any, T], on_error: Callable[[dict[str, Any]], None]) -> T:
    """Play `work` to its end in virtual time. on_error: told of exceptions that nobody takes."""
    loop = _JumpingLoop()
    loop.set_exception_handler(lambda _loop, context: on_error(context))
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        _end_all(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in sorted(left, key=hash):
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


class SkewedClock:
    """The loop's time, and a wall clock beside it that is `ahead_s` ahead of the true one."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s
        self.monotonic = asyncio.get_running_loop().time

    def now_ns(self) -> int:
        """See Clock."""
        return START_NS + int((self.monotonic() + self.ahead_s) * 1e9)
