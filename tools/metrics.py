"""The reports of a node's processes as Prometheus text, by the table in `metric_table.py`."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runtime.telemetry import BUCKETS_S, Series
from tools import metric_table
from tools.health.report import ProcessReport
from tools.metric_table import COUNTER, METRICS


class _Processes(Collector):
    """Shows the sum of several processes."""

    def __init__(self, reports: Sequence[ProcessReport]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            if metric.samples is None:
                yield _requests(metric, self._reports)
            else:
                yield _family(metric, self._reports)


def _family(metric: metric_table.Metric, reports: Iterable[ProcessReport]) -> Metric:
    assert metric.samples is not None
    summed: dict[tuple[str, ...], float] = {}
    for report in reports:
        for labels, value in metric.samples(report):
            summed[labels] = summed.get(labels, 0.0) + value
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(summed.items()):
        family.add_metric(labels, value)
    return family


def _requests(metric: metric_table.Metric, reports: Iterable[ProcessReport]) -> Metric:
    summed: dict[str, Series] = {}
    for report in reports:
        for key, series in report.counts.requests.items():
            into = summed.setdefault(key, Series([0] * (len(BUCKETS_S) + 1)))
            into.counts = [a + b for a, b in zip(into.counts, series.counts, strict=True)]
            into.total_s += series.total_s
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, series in sorted(summed.items()):
        family.add_metric(key.split(" "), _cumulated(series.counts), series.total_s)
    return family


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    running, out = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
        running += count
        out.append((bound, float(running)))
    return out


def prometheus_text(reports: Sequence[ProcessReport]) -> bytes:
    """All metrics of all processes in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Processes(reports))
    return generate_latest(registry)
