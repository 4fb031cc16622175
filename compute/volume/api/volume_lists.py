"""/v3/volumes: lists, with their filters, and the summary of them."""

import ast
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.volume.api.volume_view import extended, summary
from compute.volume.call import Call
from compute.volume.matching import is_true
from compute.volume.models.volumes import Volume
from compute.volume.paging import next_links, page_of, rows_of

COUNT_SINCE: Final = 45
SUMMARY_SINCE: Final = 12
SUMMARY_METADATA_SINCE: Final = 36
TIMES_SINCE: Final = 60
COLUMNS: Final = {
    "id": Volume.id,
    "created_at": Volume.created_us,
    "updated_at": func.coalesce(Volume.updated_us, 0),
    "status": Volume.status,
    "size": Volume.size_gib,
    "name": func.coalesce(Volume.name, ""),
    "display_name": func.coalesce(Volume.name, ""),
    "availability_zone": Volume.zone,
    "bootable": Volume.is_bootable,
    "host": func.coalesce(Volume.host, ""),
    "migration_status": func.coalesce(Volume.migration_status, ""),
}
_EQUAL: Final[Mapping[str, Any]] = {
    "name": Volume.name,
    "status": Volume.status,
    "migration_status": Volume.migration_status,
    "availability_zone": Volume.zone,
    "group_id": Volume.group_id,
}
_EQUAL_FOR_ADMINS: Final[Mapping[str, Any]] = {
    "project_id": Volume.project_id,
    "user_id": Volume.user_id,
    "id": Volume.id,
    "host": Volume.host,
    "snapshot_id": Volume.snapshot_id,
    "source_volid": Volume.source_volume_id,
    "volume_type_id": Volume.volume_type_id,
}
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "eq": lambda column, value: column == value,
    "neq": lambda column, value: column != value,
}


def filtered(call: Call, query: Select[Any]) -> Select[Any]:
    """What the caller may see of what the query string asks for. Raises BadRequest."""
    admin = call.context.is_admin
    if not (admin and is_true(call.query("all_tenants") or "")):
        query = query.where(Volume.project_id == call.context.project_id)
    for name, column in {**_EQUAL, **(_EQUAL_FOR_ADMINS if admin else {})}.items():
        if (wanted := call.query(name)) is not None:
            query = query.where(column == wanted)
    if (size := call.query("size")) is not None:
        query = query.where(Volume.size_gib == _number(size))
    if (bootable := call.query("bootable")) is not None:
        query = query.where(Volume.is_bootable == is_true(bootable))
    if (counted := call.query("consumes_quota")) is not None:
        query = query.where(Volume.consumes_quota == is_true(counted))
    for name, column in (("created_at", Volume.created_us), ("updated_at", Volume.updated_us)):
        if call.minor >= TIMES_SINCE and (times := call.query(name)) is not None:
            query = query.where(*_times(name, column, times))
    for key, value in metadata_wanted(call.query("metadata")).items():
        query = query.where(Volume.meta[key].as_string() == value)
    return query


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRequest("Invalid input received: size must be an integer.") from None


def _times(name: str, column: Any, text: str) -> list[ColumnElement[bool]]:
    found = []
    for part in text.split(","):
        sign, colon, instant = part.partition(":")
        if sign not in _COMPARE:
            raise BadRequest(f"Invalid {sign} operator" if colon else f"Invalid {name} value")
        try:
            parsed = datetime.fromisoformat(instant)
        except ValueError:
            raise BadRequest(f"Invalid {instant} value") from None
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        found.append(_COMPARE[sign](column, int(aware.timestamp() * 1_000_000)))
    return found


def metadata_wanted(text: str | None) -> dict[str, str]:
    """`{'key': 'value'}` in a query string, as clients write it. Raises BadRequest."""
    if text is None:
        return {}
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest("Invalid input received: metadata must be an object.")
    return {str(key): str(value) for key, value in found.items()}


def _count(call: Call, session: Session) -> int:
    return int(session.scalar(filtered(call, select(func.count()).select_from(Volume))) or 0)


def _listed(call: Call, *, full: bool) -> Answer:
    call.enforce("volume:get_all")
    page = page_of(call.request.query)
    with call.read() as session:
        rows = rows_of(session, filtered(call, select(Volume)), page, COLUMNS, Volume)
        shown = [extended(call, session, row) if full else summary(call, row) for row in rows]
        body: dict[str, Any] = {"volumes": shown}
        if call.minor >= COUNT_SINCE and is_true(call.query("with_count") or ""):
            body["count"] = _count(call, session)
    if links := next_links(call.request, rows):
        body["volumes_links"] = links
    return json_answer(body)


def list_volumes(call: Call) -> Answer:
    """GET /v3/volumes."""
    return _listed(call, full=False)


def list_details(call: Call) -> Answer:
    """GET /v3/volumes/detail."""
    return _listed(call, full=True)


def summarise(call: Call) -> Answer:
    """GET /v3/volumes/summary: how many there are, how large, with which metadata."""
    call.enforce("volume:get_all")
    with call.read() as session:
        rows = session.execute(filtered(call, select(Volume.size_gib, Volume.meta))).all()
    found: dict[str, Any] = {
        "total_count": len(rows),
        "total_size": sum(int(size) for size, _ in rows),
    }
    if call.minor >= SUMMARY_METADATA_SINCE:
        merged: dict[str, list[str]] = {}
        for _, meta in rows:
            for key, value in meta.items():
                if value not in merged.setdefault(key, []):
                    merged[key].append(value)
        found["metadata"] = merged
    return json_answer({"volume-summary": found})


ROUTES: Final = [
    ("GET", "/v3/volumes", list_volumes),
    ("GET", "/v3/volumes/detail", list_details),
    ("GET", "/v3/volumes/summary", summarise, SUMMARY_SINCE),
]
