"""What a worker counts: requests by API, verb and status, their time, and events by name.

Counting is two dictionary operations on the path of a request. Workers' counts travel as plain
tables; the admin port adds them up and shows them as Prometheus text (`tools/metrics.py`).
"""

from bisect import bisect_left
from typing import Final

import msgspec

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


class Series(msgspec.Struct):
    """Requests of one kind: how many fell into each bucket of BUCKETS_S (the last: above)."""

    counts: list[int]
    total_s: float = 0.0


class Counts(msgspec.Struct):
    """One worker's counts; keys are "api verb status" and event names."""

    requests: dict[str, Series] = {}
    events: dict[str, int] = {}


class Telemetry:
    """Counts of one worker."""

    def __init__(self) -> None:
        self.counts = Counts({}, {})

    def request(self, api: str, verb: str, status: int, elapsed_s: float) -> None:
        """Count one answered request."""
        key = f"{api} {verb} {status}"
        series = self.counts.requests.get(key)
        if series is None:
            series = self.counts.requests[key] = Series([0] * (len(BUCKETS_S) + 1))
        series.counts[bisect_left(BUCKETS_S, elapsed_s)] += 1
        series.total_s += elapsed_s

    def event(self, name: str, count: int = 1) -> None:
        """Count something that happened."""
        self.counts.events[name] = self.counts.events.get(name, 0) + count
