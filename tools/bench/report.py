"""The results as people read them: a table on the terminal, Markdown beside the JSON.

Both show the same cells; `cells` makes them, purely. A bar's cell says what was asked and whether by
the bar itself or by the ratio to the prototype of the same run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools.bench import others
from tools.bench.bars import Verdict
from tools.bench.machine import Machine
from tools.bench.rows import TITLES, RowResult
from tools.bench.session import Reporter

HEADINGS = (
    "row",
    "server",
    "rate",
    "p50 / p99 ms",
    "CPU, servers",
    "CPU, machine",
    "peak MiB",
    "fsync",
    "bar",
)
EXPLANATION = (
    "CPU, servers: user and system time of the servers' processes. CPU, machine: all busy time less",
    "the generator's own and the machine's idle business, so with the kernel's share; the bars",
    "refer to it. Peak: the largest worker's resident size, its private pages in brackets.",
)
NOISY_CORES = 0.1
"""More than this before a row, and the machine's figure is called uncertain."""
_NAMES = {
    "machine_cpu_us": "CPU us",
    "machine_cpu_s_gib": "CPU s/GiB",
    "ops_s": "1/s",
    "peak_mib": "MiB",
    "goodput_ratio": "goodput, x peak",
    "seconds": "s",
}


class Report(msgspec.Struct):
    """All of a run, as it is stored."""

    machine: Machine
    scale: str
    parameters: dict[str, object]
    results: list[RowResult]
    verdicts: list[Verdict]
    broken: list[str]
    ring: dict[str, Any] | None = None
    others: dict[str, Any] = {}

    @property
    def correct(self) -> bool:
        """Every answer of every row was right, and every row ran."""
        return not self.broken and not any(result.failures for result in self.results)


def cells(result: RowResult, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """One line of the table; verdicts: those on this row."""
    return (
        TITLES.get(result.row, result.row),
        result.target,
        rate_text(result),
        f"{number(result.p50_ms)} / {number(result.p99_ms)}" if result.p50_ms is not None else "",
        cpu_text(result.server_cpu_us, result.server_cpu_s_gib),
        cpu_text(result.machine_cpu_us, result.machine_cpu_s_gib),
        memory_text(result),
        result.fsync,
        failure_text(result) or "; ".join(verdict_text(verdict) for verdict in verdicts),
    )


def rate_text(result: RowResult) -> str:
    """Requests or megabytes per second, or the seconds of a row that is a time."""
    if result.seconds is not None:
        return f"{result.seconds:.2f} s"
    if result.machine_cpu_s_gib is not None or result.row.startswith("memory"):
        return f"{number(result.mb_s)} MB/s" if result.mb_s else ""
    return f"{number(result.ops_s)}/s" if result.ops_s else ""


def cpu_text(per_operation_us: float | None, per_gib_s: float | None) -> str:
    """Per GiB where the payload is large, else per operation."""
    if per_gib_s is not None:
        return f"{per_gib_s:.2f} s/GiB"
    return f"{number(per_operation_us)} us" if per_operation_us is not None else ""


def memory_text(result: RowResult) -> str:
    """The highest of any worker; private pages in brackets."""
    if result.peak_mib is None:
        return ""
    return f"{number(result.peak_mib)} ({number(result.private_mib)})"


def failure_text(result: RowResult) -> str:
    """Why a row is wrong, "" where it isn't."""
    if not result.failures:
        return ""
    kinds = ", ".join(f"{count} x {kind}" for kind, count in result.failures.items())
    return f"WRONG: {kinds}"


def verdict_text(verdict: Verdict) -> str:
    """`met CPU us ≤ 300`, or `missed …`, with the ratio where there is one."""
    sign = "≥" if verdict.bar.at_least else "≤"
    word = "met" if verdict.met else "MISSED"
    text = f"{word} {_NAMES[verdict.bar.metric]} {sign} {number(verdict.limit)}"
    if verdict.bar.metric == "goodput_ratio":
        text += f": {number(verdict.measured)}"
    if verdict.ratio is not None:
        text += f" ({verdict.ratio:.2f} x prototype)"
    return text


def number(value: float | None) -> str:
    """Three figures at least, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdicts_on(result: RowResult, own_name: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on a row; only our own store is held against the bars."""
    if result.target != own_name:
        return []
    return [verdict for verdict in verdicts if verdict.bar.row == result.row]


def terminal_table(report: Report, own_name: str) -> Table:
    """The table for a terminal."""
    table = Table(title=f"atoll bench, {report.scale}", title_justify="left")
    for heading in HEADINGS:
        if heading != "fsync":  # said once below the table
            numeric = heading in HEADINGS[2:7]
            table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for result in report.results:
        verdicts = verdicts_on(result, own_name, report.verdicts)
        wrong = bool(result.failures) or any(not verdict.met for verdict in verdicts)
        shown = [
            cell
            for heading, cell in zip(HEADINGS, cells(result, verdicts), strict=True)
            if heading != "fsync"
        ]
        table.add_row(*shown, style="red" if wrong else "")
    return table


def markdown(report: Report, own_name: str) -> str:
    """The same table in Markdown, the machine above it and the remarks below."""
    lines = [
        f"# Benchmark, {report.scale}",
        "",
        *machine_lines(report.machine),
        "",
        *EXPLANATION,
        "",
        _line(HEADINGS),
        _line(["---"] * len(HEADINGS)),
        *[
            _line(cells(result, verdicts_on(result, own_name, report.verdicts)))
            for result in report.results
        ],
        "",
        *[f"- {text}" for text in remarks(report)],
    ]
    return "\n".join(lines).rstrip() + "\n"


def machine_lines(machine: Machine) -> list[str]:
    """What a run stood on, two lines."""
    state = " with local changes" if machine.dirty else ""
    commit = machine.commit[:12] or "unknown"
    return [
        f"{machine.measured_at}, commit {commit}{state}, Python {machine.python},",
        f"{machine.cores} cores of {machine.processor}, {machine.memory_mib:,} MiB, "
        f"Linux {machine.kernel}.",
    ]


def remarks(report: Report) -> list[str]:
    """What the table has no room for: notes, first failures, rows that did not run."""
    notes = [f"{each.row} on {each.target}: {each.note}" for each in report.results if each.note]
    wrong = [
        f"{each.row} on {each.target} was wrong: {each.first_failure}"
        for each in report.results
        if each.failures
    ]
    broken = [f"did not run: {text}" for text in report.broken]
    return [
        *durability_remarks(report),
        *notes,
        *ring_remarks(report.ring),
        *others.sentences(report.others),
        *noise_remarks(report),
        *wrong,
        *broken,
    ]


def durability_remarks(report: Report) -> list[str]:
    """Per server: does it sync, on what file system."""
    states = {each.target: (each.fsync, each.filesystem) for each in report.results}
    return [f"{name}: fsync {fsync}, file system {system}" for name, (fsync, system) in states.items()]


def noise_remarks(report: Report) -> list[str]:
    """Names the rows before which the machine was not quiet."""
    noisy = [each for each in report.results if (each.idle_cores or 0.0) > NOISY_CORES]
    if not noisy:
        return []
    most = max(each.idle_cores or 0.0 for each in noisy)
    return [
        f"the machine did other work (up to {most:.2f} cores) before {len(noisy)} of "
        f"{len(report.results)} rows; its CPU figures are uncertain there"
    ]


def ring_remarks(ring: Mapping[str, Any] | None) -> list[str]:
    """The ring builder's figures in two sentences, as `ring.run` prints them."""
    if ring is None:
        return []
    changes = ", ".join(f"{each['change']} {each['ratio']:.3f} x" for each in ring["changes"])
    return [
        f"ring of {ring['devices']:,} devices and 2^{ring['part_power']} partitions: built in "
        f"{ring['build_s']:.1f} s, worst device {ring['deviation_worst']:.2f} partitions off "
        f"({'its bars are met' if ring['meets_bars'] else 'a bar is MISSED'})",
        f"ring, moves over the least possible: {changes}",
    ]


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


class TerminalReporter(Reporter):
    """A progress bar and a line per finished row on a terminal; lines only where it is none."""

    def __init__(self, console: Console, total_rows: int) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            refresh_per_second=2,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("", total=total_rows)

    def __enter__(self) -> "TerminalReporter":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        """See Reporter."""
        self._progress.update(self._task, description=text)

    def row(self, result: RowResult) -> None:
        """See Reporter."""
        self._progress.advance(self._task)
        words = [word for word in cells(result, [])[:7] if word]
        self._console.print("  ".join([*words, failure_text(result)]).rstrip(), highlight=False)
