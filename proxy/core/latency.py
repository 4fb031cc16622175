"""How long calls of one kind take of late, and so when to hedge one: a running estimate, in O(1).

The estimate is a quantile tracked by small steps (Ma, Muthukrishnan and Sandler, "Frugal streaming",
2013, in proportion to the estimate): up where a call took longer, down where it did not, so that it
rests where one call in twenty takes longer.
"""

from typing import Final

QUANTILE: Final = 0.95
STEP: Final = 0.05
"""The share of the estimate by which one call may move it."""

TIMES: Final = 3.0
"""A call is hedged once it has taken so many times the quantile."""

ESTIMATE_MIN_S: Final = 0.0001


class Latency:
    """The recent latency of one kind of call. Hedge delays are within [floor_s, ceiling_s]."""

    __slots__ = ("_ceiling_s", "_estimate_s", "_floor_s")

    def __init__(self, floor_s: float, ceiling_s: float) -> None:
        self._floor_s = floor_s
        self._ceiling_s = ceiling_s
        self._estimate_s = ceiling_s / TIMES

    def saw(self, seconds: float) -> None:
        """A call took so long."""
        estimate = self._estimate_s
        if seconds > estimate:
            self._estimate_s = min(self._ceiling_s, estimate * (1 + STEP * QUANTILE))
        else:
            self._estimate_s = max(ESTIMATE_MIN_S, estimate * (1 - STEP * (1 - QUANTILE)))

    @property
    def usual_s(self) -> float:
        """What 19 calls of 20 take at most."""
        return self._estimate_s

    @property
    def hedge_s(self) -> float:
        """After how long another device is asked, too."""
        return min(self._ceiling_s, max(self._floor_s, TIMES * self._estimate_s))
