"""/v3/groups: groups of volumes."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.group_types import group_type_for
from compute.volume.call import Call
from compute.volume.groups import (
    IDLE,
    added,
    are_under_way,
    invalid_group,
    no_such_group,
    removed,
    settle,
    types_of,
    volumes_of,
)
from compute.volume.heartbeat import ZONE
from compute.volume.instants import written
from compute.volume.kinds import type_for
from compute.volume.matching import is_true
from compute.volume.models.groups import GroupVolumeType, VolumeGroup
from compute.volume.paging import next_links, page_of, rows_of
from compute.volume.quotas import reserve

SINCE: Final = 13
SOURCES_SINCE: Final = 14
RESET_SINCE: Final = 20
VOLUMES_SINCE: Final = 25
REPLICATION_SINCE: Final = 38
PROJECT_SINCE: Final = 58

_IDS: Final = {"type": ["string", "null"], "maxLength": 37 * 1000}
_CREATE = Schema(
    forms.within(
        "group",
        {
            "description": forms.DESCRIPTION,
            "group_type": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"},
            "name": forms.NAME_OR_NULL,
            "volume_types": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "maxLength": 255},
                "uniqueItems": True,
            },
            "availability_zone": forms.NEW_NAME_OR_NULL,
        },
        *("group_type", "volume_types"),
    )
)
_UPDATE = Schema(
    forms.within(
        "group",
        {
            "description": forms.DESCRIPTION,
            "name": forms.NAME_OR_NULL,
            "add_volumes": _IDS,
            "remove_volumes": _IDS,
        },
        minProperties=1,
    )
)


def stripped(fields: Mapping[str, Any], name: str) -> str | None:
    """A text without space around it."""
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else None


# -- views --


def _detail(call: Call, session: Session, row: VolumeGroup) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": row.id,
        "status": row.status,
        "availability_zone": row.zone,
        "created_at": written(row.created_us),
        "name": row.name,
        "description": row.description,
        "group_type": row.group_type_id,
        "volume_types": types_of(session, row.id),
    }
    if call.minor >= SOURCES_SINCE:
        view |= {"group_snapshot_id": row.group_snapshot_id, "source_group_id": row.source_group_id}
    if call.minor >= VOLUMES_SINCE and is_true(call.query("list_volume") or ""):
        view["volumes"] = [volume.id for volume in volumes_of(session, row.id)]
    if call.minor >= REPLICATION_SINCE:
        view["replication_status"] = "disabled"
    if call.minor >= PROJECT_SINCE and call.allowed("group:group_project_attribute"):
        view["project_id"] = row.project_id
    return view


def summary(row: VolumeGroup) -> dict[str, Any]:
    """What lists and answers to changes show."""
    return {"id": row.id, "name": row.name}


def settled(call: Call) -> None:
    """Settle what is under way, so that whoever looks sees how it stands."""
    with call.read() as session:
        pending = are_under_way(session)
    if pending:
        with call.write() as session:
            settle(session)


def group_of(call: Call, session: Session, ident: str, rule: str) -> VolumeGroup:
    """A group, for a caller who may. Others' are not there."""
    row = session.get(VolumeGroup, ident)
    mine = row is not None and (call.context.is_admin or row.project_id == call.context.project_id)
    if row is None or not mine:
        raise no_such_group(ident)
    call.enforce(rule, project_id=row.project_id)
    return row


_COLUMNS: Final = {
    "id": VolumeGroup.id,
    "created_at": VolumeGroup.created_us,
    "status": VolumeGroup.status,
    "group_type": VolumeGroup.group_type_id,
}


def _filtered(call: Call) -> Select[Any]:
    query = select(VolumeGroup)
    if not (call.context.is_admin and call.query("all_tenants")):
        query = query.where(VolumeGroup.project_id == call.context.project_id)
    for name in ("name", "status", "availability_zone"):
        if (wanted := call.query(name)) is not None:
            column = VolumeGroup.zone if name == "availability_zone" else getattr(VolumeGroup, name)
            query = query.where(column == wanted)
    return query


def _listed(call: Call, *, detail: bool) -> Answer:
    call.enforce("group:get_all")
    settled(call)
    page = page_of(call.request.query)
    with call.read() as session:
        rows = rows_of(session, _filtered(call), page, _COLUMNS, VolumeGroup)
        shown = [_detail(call, session, row) if detail else summary(row) for row in rows]
    links = next_links(call.request, rows)
    return json_answer({"groups": shown} | ({"group_links": links} if links else {}))


def list_groups(call: Call) -> Answer:
    """GET /v3/groups."""
    return _listed(call, detail=False)


def list_details(call: Call) -> Answer:
    """GET /v3/groups/detail."""
    return _listed(call, detail=True)


def show_group(call: Call) -> Answer:
    """GET of one."""
    settled(call)
    with call.read() as session:
        row = group_of(call, session, call.path["group_id"], "group:get")
        return json_answer({"group": _detail(call, session, row)})


# -- changes --


def create_group(call: Call) -> Answer:
    """POST /v3/groups: a group has no room of its own, so it is there at once."""
    call.enforce("group:create")
    fields = call.body(_CREATE)["group"]
    zone = fields.get("availability_zone") or ZONE
    if zone != ZONE:
        raise BadRequest(f"Invalid input received: Availability zone '{zone}' is invalid.")
    with call.write() as session:
        kinds = {type_for(session, call.context, asked).id for asked in fields["volume_types"]}
        group_type = group_type_for(session, call, fields["group_type"])
        reserve(session, call.context.project_id or "", {"groups": 1})
        row = new_group(call, fields, group_type.id, zone)
        session.add(row)
        session.flush()
        session.add_all(GroupVolumeType(group_id=row.id, type_id=kind) for kind in kinds)
    return json_answer({"group": summary(row)}, 202)


def new_group(call: Call, fields: Mapping[str, Any], type_id: str, zone: str | None) -> VolumeGroup:
    """A row that is nowhere yet."""
    return VolumeGroup(
        id=call.site.new_uuid(),
        project_id=call.context.project_id,
        user_id=call.context.user_id,
        name=stripped(fields, "name"),
        description=stripped(fields, "description"),
        status="available",
        zone=zone,
        host=IDLE,
        group_type_id=type_id,
        created_us=call.site.now_us(),
    )


def update_group(call: Call) -> Answer:
    """PUT: name, description, volumes that come and go."""
    fields = call.body(_UPDATE)["group"]
    coming, going = _ids(fields.get("add_volumes")), _ids(fields.get("remove_volumes"))
    both = [ident for ident in coming if ident in going]
    if both:
        raise BadRequest(f"Invalid volume: UUIDs {both} are in both add and remove volume list.")
    with call.write() as session:
        row = group_of(call, session, call.path["group_id"], "group:update")
        joining, leaving = added(session, row, coming), removed(session, row, going)
        changed = {
            name: value
            for name in ("name", "description")
            if (value := stripped(fields, name)) is not None and value != getattr(row, name)
        }
        if not (changed or joining or leaving):
            raise invalid_group(
                f"Cannot update group {row.id} because no valid name, description, add_volumes, or"
                " remove_volumes were provided."
            )
        if (joining or leaving) and row.status != "available":
            raise invalid_group("Group status must be available.")
        for volume in joining:
            volume.group_id = row.id
        for volume in leaving:
            volume.group_id = None
        for name, value in changed.items():
            setattr(row, name, value)
        row.updated_us = call.site.now_us()
    return Answer(202)


def _ids(text: str | None) -> list[str]:
    return [ident.strip() for ident in (text or "").split(",") if ident.strip()]


ROUTES: Final = [
    ("GET", "/v3/groups", list_groups, SINCE),
    ("GET", "/v3/groups/detail", list_details, SINCE),
    ("POST", "/v3/groups", create_group, SINCE),
    ("GET", "/v3/groups/{group_id}", show_group, SINCE),
    ("PUT", "/v3/groups/{group_id}", update_group, SINCE),
]
