"""What the runner (`runner.py`) asks of a repair worker, and what a worker says of itself.

A worker does one short unit of work at a time and keeps its place between units in itself, so that the
runner can rest, pause and end it between any two. The runner rests after each unit, by the worker's
pace (`throttle.py`); a long unit (copying a blob) calls it on its way.
"""

import enum
from typing import Protocol, runtime_checkable

import msgspec

from proxy.repair.throttle import Pace


class Worked(enum.Enum):
    """How a unit of work ended."""

    BUSY = "busy"
    """There is more to do: go on."""
    IDLE = "idle"
    """Nothing to do now: look again after the worker's interval."""
    THROTTLED = "throttled"
    """There is work that may not be done now (a source or a home is away): look again soon."""


class WorkerState(enum.StrEnum):
    """What the runner does with a worker; the words of `atoll repair list`."""

    WORKING = "working"
    IDLE = "idle"
    THROTTLED = "throttled"
    """It rests, because requests come first or because it said so."""
    PAUSED = "paused"
    FAILING = "failing"
    """Its last unit ended with an error; it is tried again."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does and how far it is. The runner fills in `state`, `last_error` and `error_at_s`.

    scope: whose work it is: a device ("d3"), or "" for all of this process. doing: a few words.
    done, done_bytes: of this round, since `since_s`. left, left_bytes: still to do; None: not known.
    rate_bytes_s, rate_s: bytes and items a second of late. since_s, eta_s, error_at_s: Unix seconds,
    0 (None) for none; eta_s: when this round will be done. counts: totals since the process began, by
    metric name.
    """

    name: str
    scope: str = ""
    state: WorkerState = WorkerState.IDLE
    doing: str = ""
    done: int = 0
    done_bytes: int = 0
    left: int | None = None
    left_bytes: int | None = None
    rate_s: float = 0.0
    rate_bytes_s: float = 0.0
    since_s: float = 0.0
    eta_s: float | None = None
    last_error: str = ""
    error_at_s: float = 0.0
    counts: dict[str, int] = {}


class Worker(Protocol):
    """One kind of background work, for one device or for all of this process."""

    name: str
    """What `atoll repair pause NAME` calls it; workers of several scopes share it."""

    pace: Pace
    """Of its own, from the process's `Throttle`."""

    async def work(self) -> Worked:
        """Do one unit: well under a second, or paced. May raise: it is called again after a back-off.

        May be cancelled at any await; what it has not finished then must be found again.
        """

    def status(self) -> WorkerStatus:
        """At any time, also while a unit is under way; touches no disk."""


@runtime_checkable
class Hurries(Protocol):
    """A worker that takes its time, and need not."""

    def hurry(self) -> None:
        """An operator wants it done now (`atoll repair run`)."""
