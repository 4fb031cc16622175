"""Instants as the API writes them: UTC, ISO 8601 with microseconds and a Z."""

from datetime import UTC, datetime
from typing import Final

from compute.server.errors import BadRequest

US: Final = 1_000_000
DAY_US: Final = 86_400 * US


def text_of(us: int | None) -> str | None:
    """An instant's text; None for none."""
    if us is None:
        return None
    return datetime.fromtimestamp(us // US, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{us % US:06d}Z")


def parse(text: str) -> int:
    """Microseconds since the Unix epoch; without a zone it is UTC. Raises BadRequest."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(
            "Timestamp not in expected format. The server could not comply with the request since it is"
            " either malformed or otherwise incorrect. The client is assumed to be in error."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * US)
