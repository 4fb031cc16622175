"""What the repair workers of all processes do together: of each kind, how much, how fast, until when.

Each process has its own workers; for people only their sum means anything.
"""

from collections.abc import Iterable
from typing import NamedTuple

from proxy.repair.contract import WorkerState, WorkerStatus
from tools.health.report import ProcessReport

BUSY = frozenset({WorkerState.WORKING, WorkerState.THROTTLED})


class Repair(NamedTuple):
    """All workers of one name. working, paused, failing: how many are in that state. places: devices
    (or processes) that work is done for. left, left_bytes: None where nobody can tell. ends_s: Unix
    seconds, when the last will be done, None where that can't be told."""

    name: str
    working: int
    paused: int
    failing: int
    places: int
    done: int
    left: int | None
    left_bytes: int | None
    rate_s: float
    rate_bytes_s: float
    ends_s: float | None
    doing: tuple[str, ...]
    error: str

    @property
    def busy(self) -> bool:
        """Whether it has work to do now, and does it."""
        return self.working > 0 and (self.left is None or self.left > 0)


def repairs(reports: Iterable[ProcessReport]) -> list[Repair]:
    """One for each name, in the order in which they are first met."""
    groups: dict[str, list[tuple[str, WorkerStatus]]] = {}
    for report in reports:
        for status in report.repair:
            place = status.scope or f"{report.node}/{report.worker}"
            groups.setdefault(status.name, []).append((place, status))
    return [_together(name, found) for name, found in groups.items()]


def _together(name: str, found: list[tuple[str, WorkerStatus]]) -> Repair:
    statuses = [status for _, status in found]
    working = [status for status in statuses if status.state in BUSY]
    errors = [
        status for status in statuses if status.last_error and status.state is WorkerState.FAILING
    ]
    return Repair(
        name,
        len(working),
        sum(status.state is WorkerState.PAUSED for status in statuses),
        len(errors),
        len({place for place, status in found if status.state in BUSY}),
        sum(status.done for status in statuses),
        _sum([status.left for status in statuses]),
        _sum([status.left_bytes for status in statuses]),
        sum(status.rate_s for status in working),
        sum(status.rate_bytes_s for status in working),
        max((status.eta_s for status in working if status.eta_s), default=None),
        tuple(dict.fromkeys(status.doing for status in working if status.doing)),
        max(errors, key=lambda status: status.error_at_s).last_error if errors else "",
    )


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
