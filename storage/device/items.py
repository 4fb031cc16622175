"""What waits for the journal: each item is applied when its record is durable, then answered, or
failed.

Items are handed back in the order in which they were queued, so states are applied in the order in
which they were decided.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from storage.contract import Deliver, DeviceFault
from storage.types import Failed, Fault, RowAnswer


class Item(Protocol):
    """Something that waits."""

    deadline: float

    def apply(self) -> None:
        """The record is durable: show its effect."""

    def answer(self) -> None:
        """Tell who waits; after all items of the batch were applied."""

    def fail(self, failed: Failed) -> None:
        """The record was not written, or nobody knows: take back what was pending and tell who
        waits."""

    def expire(self) -> None:
        """The deadline passed: tell who waits; what is queued goes its way."""


class Waiter:
    """An answer that rests on a state which is not durable yet."""

    __slots__ = ("_answer", "deadline", "deliver")

    def __init__(self, answer: RowAnswer, deadline: float, deliver: Deliver) -> None:
        self._answer = answer
        self.deadline = deadline
        self.deliver: Deliver | None = deliver

    def apply(self) -> None:
        """Nothing of its own."""

    def answer(self) -> None:
        self._tell(self._answer)

    def fail(self, failed: Failed) -> None:
        self._tell(failed)

    def expire(self) -> None:
        self._tell(Failed(Fault.DEADLINE))

    def _tell(self, answer: RowAnswer) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(answer, b"")


class Call:
    """A record whose author awaits a future. undo: called where the record was not written."""

    __slots__ = ("_effect", "_future", "_undo", "deadline")

    def __init__(
        self,
        effect: Callable[[], None],
        future: "asyncio.Future[None]",
        undo: Callable[[], None] | None = None,
    ) -> None:
        self._effect = effect
        self._future = future
        self._undo = undo
        self.deadline = float("inf")

    def apply(self) -> None:
        self._effect()

    def answer(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def fail(self, failed: Failed) -> None:
        if self._undo is not None:
            self._undo()
        if not self._future.done():
            self._future.set_exception(DeviceFault(Fault(failed.fault), failed.text))

    def expire(self) -> None:
        """Its author's own affair."""
