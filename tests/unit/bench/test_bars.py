"""Bars held against results: as they stand, and as ratios to the prototype."""

import pytest

from tools.bench.bars import BARS, Bar, evaluate, evaluate_all
from tools.bench.rows import PROTOTYPE_ROWS, TITLES, RowResult

CPU = Bar("put-4k", "machine_cpu_us", 300, prototype=200)
RATE = Bar("put-4k", "ops_s", 4500, at_least=True, prototype=9000)


def _row(target: str = "atoll", **figures: float) -> RowResult:
    return RowResult(row="put-4k", target=target, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(("measured", "met"), [(299, True), (300, True), (301, False)])
def test_an_absolute_bar(measured: float, met: bool) -> None:
    verdict = evaluate(CPU, _row(machine_cpu_us=measured), None)
    assert verdict is not None
    assert (verdict.met, verdict.limit, verdict.basis, verdict.ratio) == (met, 300, "absolute", None)


@pytest.mark.parametrize(("measured", "met"), [(450, True), (451, False)])
def test_a_machine_half_as_fast_moves_the_bar(measured: float, met: bool) -> None:
    verdict = evaluate(CPU, _row(machine_cpu_us=measured), _row("prototype", machine_cpu_us=300))
    assert verdict is not None
    assert (verdict.met, verdict.basis) == (met, "ratio")
    assert verdict.limit == pytest.approx(450)
    assert verdict.ratio == pytest.approx(measured / 300)


@pytest.mark.parametrize(("measured", "met"), [(2250, True), (2249, False)])
def test_a_rate_is_at_least(measured: float, met: bool) -> None:
    verdict = evaluate(RATE, _row(ops_s=measured), _row("prototype", ops_s=4500))
    assert verdict is not None
    assert verdict.met == met
    assert verdict.limit == pytest.approx(2250)


def test_a_bar_without_a_prototypes_figure_stays_absolute() -> None:
    bar = Bar("put-4k", "machine_cpu_us", 300)
    verdict = evaluate(bar, _row(machine_cpu_us=310), _row("prototype", machine_cpu_us=1000))
    assert verdict is not None
    assert (verdict.met, verdict.basis) == (False, "absolute")


def test_no_figure_no_verdict() -> None:
    assert evaluate(CPU, _row(), None) is None


def test_only_the_own_target_is_held_against_bars() -> None:
    results = [_row("other", machine_cpu_us=1), _row("prototype", machine_cpu_us=100, ops_s=10)]
    assert evaluate_all(results, "atoll", "prototype") == []


def test_a_row_with_wrong_answers_meets_nothing() -> None:
    good, wrong = _row(machine_cpu_us=1), _row(machine_cpu_us=1)
    wrong.failures = {"wrong bytes": 1}
    assert [verdict.met for verdict in evaluate_all([good], "atoll", None, [CPU])] == [True]
    assert evaluate_all([wrong], "atoll", None, [CPU]) == []


def test_a_prototype_that_failed_is_no_reference() -> None:
    reference = _row("prototype", machine_cpu_us=1000)
    reference.failures = {"status 500": 3}
    (verdict,) = evaluate_all([_row(machine_cpu_us=310), reference], "atoll", "prototype", [CPU])
    assert verdict.basis == "absolute"


def test_the_table_of_bars_names_rows_that_exist() -> None:
    assert {bar.row for bar in BARS} <= set(TITLES)
    assert {bar.row for bar in BARS if bar.prototype} == PROTOTYPE_ROWS
