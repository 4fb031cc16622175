"""How far a worker's round is: what is done, what is left, how fast, and when it will be over."""

import math
from typing import Final

from proxy.repair.contract import WorkerStatus
from runtime.clock import Clock

RATE_S: Final = 30.0
"""Time constant of the rates."""


class Tally:
    """One worker's counts of its present round; `left` is None where nobody can know."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begin()

    def begin(self, left: int | None = None, left_bytes: int | None = None) -> None:
        """A new round."""
        self.done = self.done_bytes = 0
        self.left, self.left_bytes = left, left_bytes
        self.since_s = self._clock.now_ns() / 1e9
        self._rate = _Rate(self._clock)
        self._rate_bytes = _Rate(self._clock)

    def found(self, count: int, size_bytes: int) -> None:
        """More is to be done than was known."""
        self.left = (self.left or 0) + count
        self.left_bytes = (self.left_bytes or 0) + size_bytes

    def did(self, count: int, size_bytes: int) -> None:
        """So much of what was left is done."""
        self.done += count
        self.done_bytes += size_bytes
        self._rate.add(count)
        self._rate_bytes.add(size_bytes)
        self.dropped(count, size_bytes)

    def dropped(self, count: int, size_bytes: int) -> None:
        """So much of what was left needs not be done, or can't be now."""
        if self.left is not None:
            self.left = max(0, self.left - count)
        if self.left_bytes is not None:
            self.left_bytes = max(0, self.left_bytes - size_bytes)

    @property
    def rate_s(self) -> float:
        """Items a second of late."""
        return self._rate.now()

    @property
    def rate_bytes_s(self) -> float:
        """Bytes a second of late."""
        return self._rate_bytes.now()

    @property
    def eta_s(self) -> float | None:
        """When it will be over, in Unix seconds, at the present rate; None where that can't be told."""
        for left, rate in ((self.left_bytes, self.rate_bytes_s), (self.left, self.rate_s)):
            if left and rate > 0:
                return self._clock.now_ns() / 1e9 + left / rate
        return None

    def status(self, name: str, doing: str, counts: dict[str, int], *, scope: str = "") -> WorkerStatus:
        """What a worker of this name says of itself, whose round this is."""
        return WorkerStatus(
            name=name,
            scope=scope,
            doing=doing,
            done=self.done,
            done_bytes=self.done_bytes,
            left=self.left,
            left_bytes=self.left_bytes,
            rate_s=self.rate_s,
            rate_bytes_s=self.rate_bytes_s,
            since_s=self.since_s,
            eta_s=self.eta_s,
            counts=counts,
        )


class _Rate:
    """An exponentially decayed rate; while it is younger than RATE_S, the plain mean."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = self._at = clock.monotonic()
        self._weight = 0.0

    def add(self, amount: float) -> None:
        self._decay()
        self._weight += amount

    def now(self) -> float:
        self._decay()
        span_s = RATE_S * (1 - math.exp(-(self._at - self._begun) / RATE_S))
        return self._weight / span_s if span_s > 0 else 0.0

    def _decay(self) -> None:
        now = self._clock.monotonic()
        self._weight *= math.exp(-(now - self._at) / RATE_S)
        self._at = now
