"""Percentiles against numpy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.latency import Latency, percentile, summarise, worst

seconds = st.lists(st.floats(0, 1e4, allow_nan=False), min_size=1, max_size=300)


@given(seconds, st.floats(0, 100))
def test_percentile_is_numpys(sample: list[float], percent: float) -> None:
    assert percentile(sorted(sample), percent) == pytest.approx(
        float(np.percentile(sample, percent)), rel=1e-9, abs=1e-9
    )


@given(seconds)
def test_summary_is_in_milliseconds(sample: list[float]) -> None:
    latency = summarise(sample)
    assert latency is not None
    assert latency.p99_ms == pytest.approx(float(np.percentile(sample, 99)) * 1e3, abs=1e-6)
    assert latency.mean_ms == pytest.approx(float(np.mean(sample)) * 1e3, abs=1e-6)
    assert latency.max_ms == max(sample) * 1e3


def test_nothing_has_no_latency() -> None:
    assert summarise([]) is None
    assert worst([]) is None
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_worst_takes_the_largest_of_each() -> None:
    assert worst([Latency(1, 9, 3, 4), Latency(2, 8, 1, 5)]) == Latency(2, 9, 3, 5)
