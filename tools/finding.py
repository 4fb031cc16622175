"""What `atoll status` and `atoll doctor` found: sentences with a level, for people and for machines."""

import enum
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Level(enum.StrEnum):
    """How bad it is. Only PROBLEM makes the exit status 1."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """about: one word for what was looked at. text: a sentence; where it is bad, with what to do."""

    level: Level
    about: str
    text: str


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, text)


def warning(about: str, text: str) -> Finding:
    """The store works, but someone should look."""
    return Finding(Level.WARNING, about, text)


def problem(about: str, text: str) -> Finding:
    """Something does not work."""
    return Finding(Level.PROBLEM, about, text)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether there is no problem among them."""
    return all(finding.level is not Level.PROBLEM for finding in findings)


def documents(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """For --json."""
    return [
        {"level": finding.level.value, "about": finding.about, "text": finding.text}
        for finding in findings
    ]


_COLOURS = {Level.OK: "32", Level.WARNING: "33", Level.PROBLEM: "31"}


def print_findings(findings: Sequence[Finding]) -> None:
    """One line each; the level is coloured on a terminal."""
    coloured = sys.stdout.isatty()
    for finding in findings:
        label = f"{finding.level.value:8}"
        if coloured:
            label = f"\x1b[{_COLOURS[finding.level]}m{label}\x1b[0m"
        print(f"{label} {finding.about:12} {finding.text}")


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size_bytes: int) -> str:
    """A size for people: at most one decimal, binary units."""
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"
