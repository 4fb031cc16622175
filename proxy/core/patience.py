"""Waiting a moment for devices that come back, where a request lacks a quorum.

A node that restarts while its neighbour is still being found again takes the second device of three
away, for less than a second. Who is refused at once then sees an error in every rolling restart. So a
request waits, as long as one of the devices that it lacks fell away a short while ago, and asks again;
those whose breakers are open are tried meanwhile. A longer outage is refused at once.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from proxy.core.guarded import hasten
from runtime.clock import Clock
from storage.contract import RowDevice
from storage.types import Fault

QUORUM_PATIENCE_S: Final = 3.0
"""A request without a quorum is refused after so long; TCP links come back within 2 s (`dialer.py`)."""

QUORUM_PAUSE_S: Final = 0.1
"""How often it asks again."""


class Patience:
    """That of one request, or of a part of it; its time begins with the first call."""

    __slots__ = ("_clock", "_until")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: float | None = None

    async def lasts(self, lacking: Iterable[RowDevice], faults: Iterable[int]) -> bool:
        """Wait a moment; False at once where waiting is of no use, or no longer.

        lacking: the devices that were asked. faults: what those said that failed. Only UNREACHABLE
        passes by itself.
        """
        now = self._clock.monotonic()
        if self._until is None:
            self._until = now + QUORUM_PATIENCE_S
        if now >= self._until or Fault.UNREACHABLE not in faults or not hasten(lacking):
            return False
        await asyncio.sleep(QUORUM_PAUSE_S)
        return True
