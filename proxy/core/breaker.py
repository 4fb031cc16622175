"""A circuit breaker: whether a device is asked, and when it is tried again (Nygard, Release It!, 2007).

Pure: told what happened and when, it says what to do. `guard.py` feeds one per device and puts it
before the device's calls.

Reading and changing fail apart: a device whose disk hangs still answers reads from memory, and a good
read must not hide that. What opened the breaker must go well again before it closes.
"""

import enum
from typing import Final

FAILURES_MIN: Final = 3
"""So many failures in a row, without one good answer of their kind between them, open it ..."""

FAILING_MIN_S: Final = 0.25
"""... once they have lasted so long: a burst that is refused for want of room is no dead device."""

PROBE_FIRST_S: Final = 0.25
PROBE_MAX_S: Final = 1.0
"""An open breaker probes after the first, then ever more rarely, up to the second."""

TRIAL_WAIT_MAX_S: Final = 8.0
"""A device that fails again as soon as it is trusted again waits up to this long."""

RELAPSE_S: Final = 10.0
"""It has failed again "as soon" within this time."""


class Kind(enum.IntEnum):
    """What a call does."""

    READING = 0
    CHANGING = 1


class State(enum.StrEnum):
    """closed: calls pass. open: they fail at once. half-open: reads pass, and one change at a time."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """The state of one device's breaker. Times are instants on the monotonic clock, in seconds."""

    __slots__ = ("_began", "_closed_at", "_proof", "_streaks", "_wait_s", "opened", "probe_at", "state")

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.opened = 0
        """How often it has opened."""
        self.probe_at = 0.0
        """When to probe next, while it is not closed."""
        self._streaks = [0, 0]
        self._began = [0.0, 0.0]
        self._proof = Kind.READING
        self._wait_s = PROBE_FIRST_S
        self._closed_at = -RELAPSE_S

    @property
    def failing(self) -> bool:
        """Whether a good answer would be news."""
        return self.state is not State.CLOSED or any(self._streaks)

    def good(self, kind: Kind, now: float) -> bool:
        """A call was answered; True where that changes the state."""
        self._streaks[kind] = 0
        if self.state is State.CLOSED:
            return False
        if kind < self._proof:
            return self._become(State.HALF_OPEN)
        self._streaks = [0, 0]
        self._closed_at = now
        return self._become(State.CLOSED)

    def bad(self, kind: Kind, now: float) -> bool:
        """A call failed as one to a dead device does; True where that changes the state."""
        if self.state is State.OPEN:
            return False
        if self.state is State.HALF_OPEN:
            return self._open(kind, now)
        self._streaks[kind] += 1
        if self._streaks[kind] == 1:
            self._began[kind] = now
        if self._streaks[kind] >= FAILURES_MIN and now - self._began[kind] >= FAILING_MIN_S:
            return self._open(kind, now)
        return False

    def silent(self, now: float) -> bool:
        """The device answers nothing, probes included; True where that changes the state."""
        return self.state is not State.OPEN and self._open(Kind.READING, now)

    def probed(self, now: float, *, answered: bool) -> bool:
        """A probe, which reads, has ended; True where that changes the state."""
        if answered:
            return self.good(Kind.READING, now)
        self.probe_at = now + self._wait_s
        self._wait_s = max(self._wait_s, min(PROBE_MAX_S, self._wait_s * 2))
        return False

    def _open(self, proof: Kind, now: float) -> bool:
        relapsed = self.state is State.HALF_OPEN or now - self._closed_at < RELAPSE_S
        self._wait_s = min(TRIAL_WAIT_MAX_S, self._wait_s * 2) if relapsed else PROBE_FIRST_S
        self._proof = proof
        self.opened += 1
        self.probe_at = now + self._wait_s
        return self._become(State.OPEN)

    def _become(self, state: State) -> bool:
        changed = state is not self.state
        self.state = state
        return changed
