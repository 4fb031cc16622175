"""What a worker counts: requests by API, verb and status, their time, and events by name.

Counting is two dictionary operations on the path of a request. Workers' counts travel as plain
tables; the admin port adds them up and shows them as Prometheus text.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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


class _Workers(Collector):
    """Shows the sum of several workers' counts."""

    def __init__(self, workers: Iterable[Counts]) -> None:
        self._workers = list(workers)

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        yield self._events()

    def _requests(self) -> Metric:
        summed: dict[str, Series] = {}
        for worker in self._workers:
            for key, series in worker.requests.items():
                into = summed.setdefault(key, Series([0] * (len(BUCKETS_S) + 1)))
                into.counts = [a + b for a, b in zip(into.counts, series.counts, strict=True)]
                into.total_s += series.total_s
        family = HistogramMetricFamily(
            "atoll_request_seconds",
            "Time from the request's head to the answer's last byte",
            labels=("api", "verb", "status"),
        )
        for key, series in sorted(summed.items()):
            family.add_metric(key.split(" "), _cumulated(series.counts), series.total_s)
        return family

    def _events(self) -> Metric:
        summed: dict[str, int] = {}
        for worker in self._workers:
            for name, count in worker.events.items():
                summed[name] = summed.get(name, 0) + count
        family = CounterMetricFamily("atoll_events", "Things that happened, by name", labels=("event",))
        for name, count in sorted(summed.items()):
            family.add_metric((name,), count)
        return family


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    running, out = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
        running += count
        out.append((bound, float(running)))
    return out


def prometheus_text(workers: Iterable[Counts]) -> bytes:
    """All workers' counts in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Workers(workers))
    return generate_latest(registry)
