"""One question to several devices at once, where the row protocol needs no machine: scans and counts.

The answers come in as they come; whoever asks says how many are enough and how long to wait for them.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from runtime.clock import Clock
from storage.contract import RowDevice
from storage.types import Failed, Fault, RowAnswer, RowMessage


class Poll:
    """Questions under way and their answers, by the number under which each was asked."""

    def __init__(self, clock: Clock, within_s: float) -> None:
        self._clock = clock
        self._deadline = clock.monotonic() + within_s
        self._waiter: asyncio.Future[None] | None = None
        self._asked = 0
        self.answers: dict[int, RowAnswer] = {}
        self.payloads: dict[int, bytes] = {}
        """What came beside them, where something did."""

    def ask(self, number: int, device: RowDevice, message: RowMessage, payload: bytes = b"") -> None:
        """Send a message; its answer will be under `number`, which must be new."""
        self._asked += 1
        device.send(message, payload, self._deadline, partial(self._take, number))

    def _take(self, number: int, answer: RowAnswer, payload: bytes) -> None:
        self.answers[number] = answer
        if payload:
            self.payloads[number] = payload
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def all(self) -> None:
        """Wait until all have answered, or the time is over."""
        await self.until(lambda: False)

    async def until(self, enough: Callable[[], bool], within_s: float | None = None) -> bool:
        """Wait until `enough()`, or all have answered, or the time is over; whether it is enough.

        within_s: seconds from now, but never beyond the poll's own deadline; None: till that.
        """
        left_s = self._deadline - self._clock.monotonic()
        if within_s is not None:
            left_s = min(left_s, within_s)
        try:
            async with asyncio.timeout(left_s):
                while not enough() and len(self.answers) < self._asked:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        except TimeoutError:
            pass
        return enough()

    @property
    def stale(self) -> bool:
        """Whether a device is in another ring epoch than it was asked in."""
        return any(
            type(answer) is Failed and answer.fault == Fault.EPOCH for answer in self.answers.values()
        )

    @property
    def faults(self) -> list[int]:
        """Of the devices that failed."""
        return [answer.fault for answer in self.answers.values() if type(answer) is Failed]

    def mask(self, kind: type[RowAnswer]) -> int:
        """The numbers that got an answer of this kind, as a mask."""
        return sum(1 << number for number, answer in self.answers.items() if type(answer) is kind)

    def said(self) -> str:
        """What the devices that could not answer said, for an error's text."""
        faults = [answer for answer in self.answers.values() if type(answer) is Failed]
        silent = self._asked - len(self.answers)
        texts = [fault.text or str(fault.fault) for fault in faults] + ["no answer"] * silent
        return ", ".join(texts)
