"""The results as a picture: processor time against the bars on the left, rates on the right.

Log scales, because the rows lie four orders of magnitude apart. matplotlib is imported here and only
when a picture is drawn; it comes with the `dev` extra.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench.bars import Verdict
from tools.bench.rows import TITLES, RowResult

COLOURS = ("#2a6f97", "#c9a227", "#8d5b4c", "#6a994e", "#7b5ea7", "#999999")
DOTS_PER_INCH = 130
BAR_HEIGHT = 0.8


@dataclass(frozen=True, slots=True)
class Panel:
    """One half of the picture: a value per row and server, and the bar of each row where it has one."""

    title: str
    rows: list[str]
    values: dict[tuple[str, str], float]
    labels: dict[tuple[str, str], str]
    limits: dict[str, float]


def cpu_panel(results: Sequence[RowResult], verdicts: Sequence[Verdict]) -> Panel:
    """Milliseconds of processor time per operation; per 64 MiB where the objects are large."""
    values = {
        (result.row, result.target): result.machine_cpu_us / 1e3
        for result in results
        if result.machine_cpu_us
    }
    limits = {}
    for verdict in verdicts:
        if verdict.bar.metric == "machine_cpu_us":
            limits[verdict.bar.row] = verdict.limit / 1e3
        elif verdict.bar.metric == "machine_cpu_s_gib":
            limits[verdict.bar.row] = verdict.limit / 16 * 1e3  # a GiB is 16 objects of 64 MiB
    labels = {place: _label(value) for place, value in values.items()}
    title = "CPU per operation, ms (less is better; the red mark is the bar)"
    return Panel(title, _in_order(values), values, labels, limits)


def rate_panel(results: Sequence[RowResult], verdicts: Sequence[Verdict]) -> Panel:
    """Operations per second; the labels of large objects are in MB/s."""
    values: dict[tuple[str, str], float] = {}
    labels: dict[tuple[str, str], str] = {}
    for result in results:
        if result.ops_s and result.machine_cpu_us is not None:
            place = (result.row, result.target)
            values[place] = result.ops_s
            large = result.machine_cpu_s_gib is not None and result.mb_s
            labels[place] = f"{_label(result.mb_s or 0.0)} MB/s" if large else _label(result.ops_s)
    limits = {each.bar.row: each.limit for each in verdicts if each.bar.metric == "ops_s"}
    return Panel("operations per second (more is better)", _in_order(values), values, labels, limits)


def draw(results: Sequence[RowResult], verdicts: Sequence[Verdict], path: Path) -> bool:
    """Write the picture as a PNG; False where no row has anything to draw."""
    both = [cpu_panel(results, verdicts), rate_panel(results, verdicts)]
    panels = [panel for panel in both if panel.rows]
    targets = list(dict.fromkeys(result.target for result in results))
    if not panels:
        return False
    from matplotlib.figure import Figure

    height = 1.6 + 0.28 * max(len(panel.rows) for panel in panels) * max(1.5, len(targets))
    figure = Figure(figsize=(15, height), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, panel, targets)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return True


def _draw_panel(axes: Any, panel: Panel, targets: Sequence[str]) -> None:
    thickness = BAR_HEIGHT / len(targets)
    for at, target in enumerate(targets):
        drawn = [row for row in panel.rows if (row, target) in panel.values]
        places = [panel.rows.index(row) + (at + 0.5) * thickness - BAR_HEIGHT / 2 for row in drawn]
        values = [panel.values[row, target] for row in drawn]
        colour = COLOURS[at % len(COLOURS)]
        bars = axes.barh(places, values, height=thickness * 0.92, color=colour, label=target)
        texts = axes.bar_label(
            bars, labels=[panel.labels[row, target] for row in drawn], padding=3, fontsize=8, zorder=5
        )
        for text in texts:  # readable where a mark runs behind it
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85})
    for row, limit in panel.limits.items():
        if row in panel.rows:
            place = panel.rows.index(row)
            axes.vlines(limit, place - BAR_HEIGHT / 2, place + BAR_HEIGHT / 2, color="#c1121f", lw=2)
    _dress(axes, panel, len(targets) > 1)


def _dress(axes: Any, panel: Panel, has_legend: bool) -> None:
    axes.set_xscale("log")
    axes.margins(x=0.18, y=0.01)
    axes.set_yticks(range(len(panel.rows)), [TITLES.get(row, row) for row in panel.rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if has_legend:
        axes.legend(fontsize=9, loc="best")


def _label(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _in_order(values: dict[tuple[str, str], float]) -> list[str]:
    measured = {row for row, _ in values}
    return [row for row in TITLES if row in measured]
