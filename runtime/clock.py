"""The clock door: wall and monotonic time as an argument, and the hybrid clock that stamps rows.

Everything that needs the time takes a `Clock`; a simulation hands in one of its own.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the store knows of time."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch. May jump."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; deadlines are instants on it."""


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


class HybridClock:
    """Hybrid logical clock (Kulkarni et al., 2014) whose readings are 16-byte stamps.

    A stamp is 8 bytes of nanoseconds and 8 bytes of the process incarnation's random id, big-endian,
    so stamps compare as bytes. Readings never repeat within an incarnation, and never within a
    cluster, because the incarnation id is drawn anew at each process start.
    """

    def __init__(self, clock: Clock, incarnation: bytes) -> None:
        if len(incarnation) != 8:
            raise ValueError("an incarnation id is 8 bytes")
        self._clock = clock
        self._incarnation = incarnation
        self._last_ns = 0

    def stamp(self) -> bytes:
        """A new stamp, above every stamp given or seen before."""
        self._last_ns = max(self._last_ns + 1, self._clock.now_ns())
        return self._last_ns.to_bytes(8, "big") + self._incarnation

    def saw(self, stamp: bytes) -> None:
        """Never stamp at or below `stamp` from now on."""
        self._last_ns = max(self._last_ns, int.from_bytes(stamp[:8], "big"))


def stamp_ns(stamp: bytes) -> int:
    """The wall-clock reading in a stamp, nanoseconds since the Unix epoch."""
    return int.from_bytes(stamp[:8], "big")
