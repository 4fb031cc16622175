"""/v3/backups: lists, one, its name and metadata, its record."""

import base64
from typing import Any, Final

import msgspec
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.backups import copy_of, has_dependents, invalid_backup, no_such_backup
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.models.backups import Backup
from compute.volume.paging import next_links, page_of, rows_of

UPDATE_SINCE: Final = 9
PROJECT_SINCE: Final = 18
METADATA_SINCE: Final = 43
COUNT_SINCE: Final = 45
ZONE_SINCE: Final = 51
USER_SINCE: Final = 56
SERVICE: Final = "cinder.backup.drivers.atoll.AtollBackupDriver"
"""In records; its beginning is what clients expect."""

_UPDATE = Schema(
    forms.within(
        "backup",
        {"name": forms.NAME_OR_NULL, "description": forms.DESCRIPTION, "metadata": forms.SPECS},
    )
)
_COLUMNS: Final = {
    "id": Backup.id,
    "created_at": Backup.created_us,
    "status": Backup.status,
    "volume_id": Backup.volume_id,
    "size": Backup.size_gib,
    "name": func.coalesce(Backup.name, ""),
}


def summary(call: Call, row: Backup) -> dict[str, Any]:
    """In short."""
    return {"id": row.id, "name": row.name, "links": call.links("backups", row.id)}


def _detail(call: Call, session: Session, row: Backup) -> dict[str, Any]:
    view = summary(call, row) | {
        "status": row.status,
        "size": row.size_gib,
        "object_count": row.object_count,
        "availability_zone": row.zone,
        "container": row.container or row.store,
        "created_at": written(row.created_us),
        "updated_at": written(row.updated_us),
        "description": row.description,
        "fail_reason": row.fail_reason,
        "volume_id": row.volume_id,
        "is_incremental": row.parent_id is not None,
        "has_dependent_backups": has_dependents(session, row.id),
        "snapshot_id": row.snapshot_id,
        "data_timestamp": written(row.data_us),
    }
    if call.minor >= PROJECT_SINCE and call.allowed("backup:backup_project_attribute"):
        view["os-backup-project-attr:project_id"] = row.project_id
    if call.minor >= METADATA_SINCE:
        view["metadata"] = row.meta
    if call.minor >= USER_SINCE and call.allowed("backup:backup_project_attribute"):
        view["user_id"] = row.user_id
    return view


def backup_of(call: Call, session: Session, rule: str, ident: str | None = None) -> Backup:
    """A backup; the path's unless `ident` is given. Raises NotFound, Forbidden."""
    ident = call.path["backup_id"] if ident is None else ident
    row = session.get(Backup, ident)
    mine = row is not None and (call.context.is_admin or row.project_id == call.context.project_id)
    if row is None or not mine:
        raise no_such_backup(ident)
    call.enforce(rule, project_id=row.project_id)
    return row


def _filtered(call: Call) -> Select[Any]:
    query = select(Backup)
    if not (call.context.is_admin and call.query("all_tenants") in ("1", "True", "true")):
        query = query.where(Backup.project_id == call.context.project_id)
    elif (project := call.query("project_id")) is not None:
        query = query.where(Backup.project_id == project)
    for name in ("name", "status", "volume_id", "snapshot_id", "parent_id"):
        if (wanted := call.query(name)) is not None:
            query = query.where(getattr(Backup, name) == wanted)
    if call.minor >= 31 and (part := call.query("name~")) is not None:
        query = query.where(Backup.name.contains(part, autoescape=True))
    return query


def _with_count(call: Call) -> bool:
    asked = (call.query("with_count") or "false").lower()
    if call.minor >= COUNT_SINCE and asked not in ("true", "false", "1", "0"):
        raise BadRequest(f"Invalid input received: Unrecognized value '{asked}' for with_count")
    return call.minor >= COUNT_SINCE and asked in ("true", "1")


def _listed(call: Call, *, detail: bool) -> Answer:
    call.enforce("backup:get_all")
    page, counted = page_of(call.request.query), _with_count(call)
    with call.read() as session:
        query = _filtered(call)
        rows = rows_of(session, query, page, _COLUMNS, Backup)
        body: dict[str, Any] = {
            "backups": [_detail(call, session, row) if detail else summary(call, row) for row in rows]
        }
        if counted:
            body["count"] = session.scalar(select(func.count()).select_from(query.subquery()))
    if links := next_links(call.request, rows):
        body["backups_links"] = links
    return json_answer(body)


def list_backups(call: Call) -> Answer:
    """GET /v3/backups."""
    return _listed(call, detail=False)


def list_details(call: Call) -> Answer:
    """GET /v3/backups/detail."""
    return _listed(call, detail=True)


def show_backup(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        return json_answer({"backup": _detail(call, session, backup_of(call, session, "backup:get"))})


def update_backup(call: Call) -> Answer:
    """PUT: name, description, and from 3.43 on metadata."""
    fields = call.body(_UPDATE)["backup"]
    if call.minor < METADATA_SINCE:
        fields.pop("metadata", None)
    if not fields:
        raise BadRequest("Must specify at least one of name, description or metadata.")
    with call.write() as session:
        row = backup_of(call, session, "backup:update")
        row.name = fields.get("name", row.name)
        row.description = fields.get("description", row.description)
        row.meta = fields.get("metadata", row.meta)
        row.updated_us = call.site.now_us()
    view = summary(call, row) | ({"metadata": row.meta} if call.minor >= METADATA_SINCE else {})
    return json_answer({"backup": view})


def export_record(call: Call) -> Answer:
    """GET /v3/backups/{id}/export_record: all that another database needs to know of it."""
    with call.read() as session:
        row = backup_of(call, session, "backup:export-import")
    if row.status != "available":
        raise invalid_backup("Backup status must be available and not error.")
    copy = copy_of(row)
    record = {
        "id": row.id,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "volume_id": row.volume_id,
        "display_name": row.name,
        "display_description": row.description,
        "size": row.size_gib,
        "metadata": row.meta,
        "source": row.source,
        "data_us": row.data_us,
        "container": copy.container,
        "copy": copy.copy_id,
        "key": copy.sealed_key.decode(),
    }
    url = base64.b64encode(msgspec.json.encode(record)).decode()
    return json_answer({"backup-record": {"backup_service": SERVICE, "backup_url": url}})


ROUTES: Final = [
    ("GET", "/v3/backups", list_backups),
    ("GET", "/v3/backups/detail", list_details),
    ("GET", "/v3/backups/{backup_id}", show_backup),
    ("PUT", "/v3/backups/{backup_id}", update_backup, UPDATE_SINCE),
    ("GET", "/v3/backups/{backup_id}/export_record", export_record),
]
