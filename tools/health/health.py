"""What is said of a cluster: a level, sentences and the numbers behind them."""

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from tools.finding import Finding, worst
from tools.finding import Level as Found


class Level(enum.StrEnum):
    """How the whole is, from best to worst.

    Unknown stands above degraded: that something is not known may hide more than is missing.
    """

    OK = "ok"
    """Everything is at full copies and everyone answers."""
    DEGRADED = "degraded"
    """Everything can be read and written; copies, devices or processes are missing."""
    UNKNOWN = "unknown"
    """Somebody did not answer who might have something bad to tell."""
    DANGER = "danger"
    """Something can't be read or written now, or what is acknowledged may be lost."""


_LEVELS = {
    Found.OK: Level.OK,
    Found.WARNING: Level.OK,
    Found.PROBLEM: Level.DEGRADED,
    Found.UNKNOWN: Level.UNKNOWN,
    Found.DANGER: Level.DANGER,
}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """findings: the headline first. facts: for machines. `level` is the worst of the findings'."""

    level: Level
    findings: list[Finding]
    facts: dict[str, Any]

    @property
    def healthy(self) -> bool:
        """Whether nobody needs to do anything."""
        return self.level is Level.OK


def health_of(findings: Iterable[Finding], facts: dict[str, Any]) -> Health:
    """Put together; the order of `findings` is kept."""
    kept = list(findings)
    return Health(level=_LEVELS[worst(kept)], findings=kept, facts=facts)
