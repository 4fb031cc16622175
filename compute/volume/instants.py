"""Instants as this API writes them: UTC without a zone, with microseconds."""

from datetime import UTC, datetime
from typing import Final

US: Final = 1_000_000


def written(us: int | None) -> str | None:
    """An instant's text; None for none."""
    if us is None:
        return None
    return datetime.fromtimestamp(us // US, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{us % US:06d}")
