"""`atoll bench cluster`: its arithmetic on requests made up, and the whole of it for a second each."""

import json

import pytest

from tools.bench import cluster, others
from tools.bench.cluster import Scene, Times
from tools.bench.cluster_load import Sample


def _times() -> Times:
    times = Times()
    times.began, times.gone, times.back, times.returned, times.ended = 0.0, 10.0, 20.0, 21.0, 30.0
    return times


def _steady(took_s: float = 0.010) -> list[Sample]:
    begins = [number * 0.01 for number in range(3000)]
    return [Sample(verb, at, at + took_s) for verb in ("put", "get") for at in begins]


def test_a_node_that_nobody_misses() -> None:
    found = Scene(_steady(), [], _times()).figures()
    assert found["put_healthy_p99_ms"] == pytest.approx(10)
    assert found["put_ratio"] == pytest.approx(1)
    assert found["full_service_s"] == found["put_slow"] == found["failed"] == 0
    assert found["first_answer_s"] == pytest.approx(0.010)


def test_requests_that_hang_for_a_while() -> None:
    hanging = [Sample("put", at, 11.6) for at in (9.995, 10.1, 10.3)]
    found = Scene([*_steady(), *hanging, Sample("get", 15.0, 15.5)], [], _times()).figures()
    assert found["full_service_s"] == pytest.approx(1.6)
    assert (found["put_slow"], found["get_slow"]) == (2, 1)
    assert found["longest_ms"] == pytest.approx(1605)
    assert found["put_ratio"] == pytest.approx(1)  # begun in the first second
    assert cluster.meets_bars({"killed": found})


def test_what_stays_slow_or_fails_misses_the_bars() -> None:
    slow = [s._replace(ended=s.ended + 0.05) if s.began >= 10 else s for s in _steady()]
    found = Scene(slow, [], _times()).figures()
    assert found["get_ratio"] == pytest.approx(6)
    assert found["full_service_s"] > 9
    assert not cluster.meets_bars({"killed": found})
    found = Scene(_steady(), [10.3], _times()).figures()
    assert found["failed"] == 1
    assert not cluster.meets_bars({"killed": found})


def test_it_runs_and_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    cluster.run(["--seconds", "0.5", "--connections", "1", "--json"])  # its bars are none of a test's
    found = json.loads(capsys.readouterr().out)
    for how in ("killed", "stopped"):
        assert found[how]["failed"] == 0, found
        assert found[how]["put_gone_p50_ms"] > 0
    told = others.sentences({"cluster": found})
    assert told[0].startswith("one node of four killed: full service after")
