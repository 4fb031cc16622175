"""The dashboard asks for metrics that there are and shows all but those that say why not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.dashboard import dashboard
from tools.dashboard_panels import ROW_UNITS
from tools.metric_table import COUNTER, HISTOGRAM, METRICS

FILE = Path(__file__).parents[3] / "doc" / "grafana" / "atoll.json"
PANELS: list[dict[str, Any]] = dashboard()["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
ENDINGS = {COUNTER: ("_total",), HISTOGRAM: ("_bucket", "_sum", "_count")}


def test_the_file_is_what_the_program_makes() -> None:
    assert json.loads(FILE.read_text()) == dashboard(), (
        "python -m tools.dashboard > doc/grafana/atoll.json"
    )


def test_every_expression_asks_for_metrics_that_there_are() -> None:
    known = {metric.name + end for metric in METRICS for end in ENDINGS.get(metric.kind, ("",))}
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"atoll_\w+", expression)}
    assert asked
    assert asked <= known


def labels_of(expression: str) -> set[str]:
    """Labels that any of the expression's metrics have."""
    found = {"instance", "le"}
    for metric in METRICS:
        endings = "|".join(end for end in ENDINGS.get(metric.kind, ("",)))
        if re.search(rf"\b{metric.name}({endings})\b", expression):
            found |= set(metric.labels)
    return found


def test_labels_in_expressions_and_legends_are_the_metrics_own() -> None:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", target["expr"]))
            used |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for by in re.findall(r"by \(([^)]+)\)", target["expr"]):
                used |= set(by.replace(" ", "").split(","))
            assert used <= labels_of(target["expr"]), target


def test_every_metric_is_shown_or_says_why_not() -> None:
    names = set(re.findall(r"atoll_\w+", " ".join(EXPRESSIONS)))
    shown = {
        metric.name
        for metric in METRICS
        if names & {metric.name + end for end in ENDINGS.get(metric.kind, ("",))}
    }
    assert shown == {metric.name for metric in METRICS if not metric.hidden}


def test_expressions_are_balanced_and_have_no_placeholder_left() -> None:
    for expression in EXPRESSIONS:
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
        assert "{N" not in expression


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['id']} {panel['title']}")
def test_panels_fit_and_overlap_nowhere(panel: dict[str, Any]) -> None:
    def cells(one: dict[str, Any]) -> set[tuple[int, int]]:
        place = one["gridPos"]
        return {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }

    assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= ROW_UNITS
    assert len({one["id"] for one in PANELS}) == len(PANELS)
    for other in PANELS:
        assert other is panel or not cells(panel) & cells(other)
