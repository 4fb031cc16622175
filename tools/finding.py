"""What `atoll status` and `atoll doctor` found: sentences with a level, for people and for machines."""

import enum
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec


class Level(enum.StrEnum):
    """How bad it is, from best to worst. From PROBLEM on the exit status is 1."""

    OK = "ok"
    WARNING = "warning"
    """All works, but someone should look."""
    PROBLEM = "problem"
    """Something does not work, or is not as safe as it should be."""
    UNKNOWN = "unknown"
    """Somebody did not answer who might have something bad to tell."""
    DANGER = "danger"
    """Something can't be read or written now, or what is acknowledged may be lost."""


class Finding(msgspec.Struct, frozen=True):
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


def unknown(about: str, text: str) -> Finding:
    """Nobody can say."""
    return Finding(Level.UNKNOWN, about, text)


def danger(about: str, text: str) -> Finding:
    """Data can't be reached, or may be lost."""
    return Finding(Level.DANGER, about, text)


_ORDER = tuple(Level)


def severity(finding: Finding) -> int:
    """For sorting: higher is worse."""
    return _ORDER.index(finding.level)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among them; OK for none."""
    return max((finding.level for finding in findings), key=_ORDER.index, default=Level.OK)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether there is nothing worse than a warning among them."""
    return worst(findings) in {Level.OK, Level.WARNING}


def documents(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """For --json."""
    return [msgspec.to_builtins(finding) for finding in findings]


_COLOURS = {
    Level.OK: "32",
    Level.WARNING: "33",
    Level.PROBLEM: "31",
    Level.UNKNOWN: "35",
    Level.DANGER: "1;31",
}


def lines(findings: Iterable[Finding], *, coloured: bool = False) -> Iterator[str]:
    """One line each; coloured: for a terminal."""
    for finding in findings:
        label = f"{finding.level.value:8}"
        if coloured:
            label = f"\x1b[{_COLOURS[finding.level]}m{label}\x1b[0m"
        yield f"{label} {finding.about:12} {finding.text}"


def print_findings(findings: Sequence[Finding]) -> None:
    """The same on standard output."""
    for line in lines(findings, coloured=sys.stdout.isatty()):
        print(line)


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size_bytes: int) -> str:
    """A size for people: at most one decimal, binary units."""
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"
