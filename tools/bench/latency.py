"""Latency statistics: order statistics of a row's requests, computed once after the clock stopped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, over all finished requests of a row."""

    p50_ms: float
    p99_ms: float
    mean_ms: float
    max_ms: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of a sorted, non-empty sample, interpolated linearly between ranks.

    Definition 7 of Hyndman and Fan (1996), which is numpy's default.
    """
    if not ordered:
        raise ValueError("a percentile of nothing")
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def summarise(seconds: Sequence[float]) -> Latency | None:
    """The statistics of a row's latencies, given in seconds; None where nothing finished."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Latency(
        p50_ms=percentile(ordered, 50) * 1e3,
        p99_ms=percentile(ordered, 99) * 1e3,
        mean_ms=math.fsum(ordered) / len(ordered) * 1e3,
        max_ms=ordered[-1] * 1e3,
    )


def worst(parts: Sequence[Latency]) -> Latency | None:
    """One latency for several loads: of each figure the largest, which never flatters."""
    if not parts:
        return None
    return Latency(
        p50_ms=max(part.p50_ms for part in parts),
        p99_ms=max(part.p99_ms for part in parts),
        mean_ms=max(part.mean_ms for part in parts),
        max_ms=max(part.max_ms for part in parts),
    )
