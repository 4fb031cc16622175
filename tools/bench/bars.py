"""The bars of the store and how a result is held against them.

Where a bar has a figure of the prototype beside it and the prototype ran in the same run, the bar
holds as the ratio of the two: a machine that is slower today moves both. Else it holds as it stands.
Pure functions over results.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tools.bench.rows import RowResult

Metric = Literal["machine_cpu_us", "machine_cpu_s_gib", "ops_s", "peak_mib", "seconds", "goodput_ratio"]


@dataclass(frozen=True, slots=True)
class Bar:
    """`metric` of `row` is at most (or at least) `limit`; the prototype reached `prototype`."""

    row: str
    metric: Metric
    limit: float
    at_least: bool = False
    prototype: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar held against one result. limit: the bar after the ratio; basis: which of the two."""

    bar: Bar
    measured: float
    limit: float
    basis: Literal["absolute", "ratio"]
    met: bool
    prototype_measured: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured over the prototype's figure of the same run."""
        return self.measured / self.prototype_measured if self.prototype_measured else None


BARS = (
    Bar("put-4k", "machine_cpu_us", 300, prototype=228),
    Bar("put-4k", "ops_s", 4500, at_least=True, prototype=7164),
    Bar("get-4k", "machine_cpu_us", 110, prototype=63),
    Bar("get-4k", "ops_s", 12000, at_least=True, prototype=23902),
    Bar("delete-4k", "machine_cpu_us", 300),
    Bar("put-64k", "machine_cpu_us", 600, prototype=436),
    Bar("get-64k", "machine_cpu_us", 200, prototype=120),
    Bar("overload-put", "goodput_ratio", 0.8, at_least=True),
    Bar("overload-get", "goodput_ratio", 0.8, at_least=True),
    Bar("list-1000", "machine_cpu_us", 8000),
    Bar("put-64m", "machine_cpu_s_gib", 4.5),
    Bar("get-64m", "machine_cpu_s_gib", 0.6),
    Bar("put-64m-ec", "machine_cpu_s_gib", 4.0),
    Bar("get-64m-ec", "machine_cpu_s_gib", 0.8),
    Bar("get-64m-degraded", "machine_cpu_s_gib", 1.2),
    Bar("memory-idle", "peak_mib", 120),
    Bar("memory-streams", "peak_mib", 300),
    Bar("start", "seconds", 2.0),
    Bar("restart", "seconds", 5.0),
)
"""On two cores with the generator on the same two, three replicas on six devices, fsync on."""


def evaluate(bar: Bar, result: RowResult, prototype: RowResult | None) -> Verdict | None:
    """Hold a bar against a result; None where the result has no such figure."""
    measured = getattr(result, bar.metric)
    if measured is None:
        return None
    reference = getattr(prototype, bar.metric) if prototype is not None else None
    limit = bar.limit
    if bar.prototype and reference:
        limit *= reference / bar.prototype
    return Verdict(
        bar=bar,
        measured=measured,
        limit=limit,
        basis="ratio" if bar.prototype and reference else "absolute",
        met=measured >= limit if bar.at_least else measured <= limit,
        prototype_measured=reference,
    )


def evaluate_all(
    results: Iterable[RowResult], target: str, prototype: str | None, bars: Iterable[Bar] = BARS
) -> list[Verdict]:
    """All bars that `target` has figures for, in the bars' order; rows with failures meet none."""
    rows: Mapping[tuple[str, str], RowResult] = {(each.row, each.target): each for each in results}
    verdicts = []
    for bar in bars:
        result = rows.get((bar.row, target))
        if result is None or result.failures:
            continue
        reference = rows.get((bar.row, prototype)) if prototype else None
        if reference is not None and reference.failures:
            reference = None
        if (verdict := evaluate(bar, result, reference)) is not None:
            verdicts.append(verdict)
    return verdicts
