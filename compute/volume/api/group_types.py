"""/v3/group_types: types of groups and their specs."""

from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, Conflict, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.matching import is_true
from compute.volume.models.groups import GroupType, VolumeGroup
from compute.volume.paging import next_links, page_of, rows_of

SINCE: Final = 11
RULE: Final = "group:group_types"

_METADATA = forms.specs(r"^[a-zA-Z0-9-_:. /]{1,255}$", "string")
_CREATE = Schema(
    forms.within(
        "group_type",
        {
            "name": forms.NAME,
            "description": forms.DESCRIPTION,
            "is_public": forms.TRUTH,
            "group_specs": {**_METADATA, "type": ["object", "null"]},
        },
        "name",
    )
)
_UPDATE = Schema(
    forms.within(
        "group_type",
        {
            "name": forms.NAME_OR_NULL,
            "description": forms.DESCRIPTION,
            "is_public": forms.TRUTH,
        },
    )
)
_CREATE_SPECS = Schema(
    {
        "type": "object",
        "properties": {"group_specs": forms.PLAIN_SPECS},
        "required": ["group_specs"],
        "additionalProperties": False,
    }
)
_UPDATE_SPECS = Schema(forms.ONE_PLAIN_SPEC)


def _shown(call: Call, row: GroupType) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "is_public": row.is_public,
    }
    if call.allowed("group:access_group_types_specs"):
        view["group_specs"] = row.group_specs
    return view


def no_such_type(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Group type {ident} could not be found.")


def _found(call: Call, session: Session) -> GroupType:
    ident = call.path["group_type_id"]
    row = session.get(GroupType, ident)
    if row is None or not (row.is_public or call.context.is_admin):
        raise no_such_type(ident)
    return row


def group_type_for(session: Session, call: Call, asked: str) -> GroupType:
    """The type of an id or a name, for a new group. Raises NotFound."""
    row = session.get(GroupType, asked)
    row = row or session.scalar(select(GroupType).where(GroupType.name == asked))
    if row is None or not (row.is_public or call.context.is_admin):
        raise no_such_type(asked)
    return row


def list_types(call: Call) -> Answer:
    """GET /v3/group_types: public ones, unless an administrator says otherwise."""
    page = page_of(call.request.query)
    with call.read() as session:
        rows = rows_of(session, _filtered(call), page, _COLUMNS, GroupType)
    links = next_links(call.request, rows)
    body: dict[str, Any] = {"group_types": [_shown(call, row) for row in rows]}
    return json_answer(body | ({"group_type_links": links} if links else {}))


_COLUMNS: Final = {
    "id": GroupType.id,
    "name": GroupType.name,
    "created_at": GroupType.created_us,
    "is_public": GroupType.is_public,
}


def _filtered(call: Call) -> Select[Any]:
    asked = call.query("is_public") if call.context.is_admin else None
    if asked is not None and asked.lower() == "none":
        return select(GroupType)
    return select(GroupType).where(GroupType.is_public.is_(asked is None or is_true(asked)))


def show_type(call: Call) -> Answer:
    """GET of one. There is no default one unless an operator says which, and here none can."""
    if call.path["group_type_id"] == "default":
        raise NotFound("Default group type can not be found.")
    with call.read() as session:
        return json_answer({"group_type": _shown(call, _found(call, session))})


def _check_name_free(session: Session, name: str, row: GroupType | None = None) -> None:
    other = session.scalar(select(GroupType).where(GroupType.name == name))
    if other is not None and other is not row:
        raise Conflict(f"Group Type {name} already exists.")


def create_type(call: Call) -> Answer:
    """POST /v3/group_types."""
    call.enforce(f"{RULE}:create")
    fields = call.body(_CREATE)["group_type"]
    with call.write() as session:
        _check_name_free(session, fields["name"])
        row = GroupType(
            id=call.site.new_uuid(),
            name=fields["name"],
            description=fields.get("description"),
            is_public=is_true(fields.get("is_public", True)),
            group_specs=fields.get("group_specs") or {},
            created_us=call.site.now_us(),
        )
        session.add(row)
    return json_answer({"group_type": _shown(call, row)}, 202)


def update_type(call: Call) -> Answer:
    """PUT of one."""
    call.enforce(f"{RULE}:update")
    fields = call.body(_UPDATE)["group_type"]
    name, description = fields.get("name"), fields.get("description")
    if name is not None and not name.strip():
        raise BadRequest("Group type name can not be empty.")
    if name is None and description is None and fields.get("is_public") is None:
        raise BadRequest("Specify group type name, description or a combination thereof.")
    with call.write() as session:
        row = _found(call, session)
        if name is not None:
            _check_name_free(session, name, row)
            row.name = name
        row.description = row.description if description is None else description
        if fields.get("is_public") is not None:
            row.is_public = is_true(fields["is_public"])
        row.updated_us = call.site.now_us()
    return json_answer({"group_type": _shown(call, row)})


def delete_type(call: Call) -> Answer:
    """DELETE: not of one that groups have."""
    call.enforce(f"{RULE}:delete")
    with call.write() as session:
        row = _found(call, session)
        query = select(VolumeGroup.id).where(VolumeGroup.group_type_id == row.id).limit(1)
        if session.scalar(query) is not None:
            raise BadRequest("Target group type is still in use.")
        session.delete(row)
    return Answer(202)


# -- specs --

SPEC_RULE: Final = "group:group_types_specs"


def list_specs(call: Call) -> Answer:
    """GET /v3/group_types/{group_type_id}/group_specs."""
    call.enforce(f"{SPEC_RULE}:get_all")
    with call.read() as session:
        return json_answer({"group_specs": _found(call, session).group_specs})


def show_spec(call: Call) -> Answer:
    """GET of one."""
    call.enforce(f"{SPEC_RULE}:get")
    key = call.path["key"]
    with call.read() as session:
        row = _found(call, session)
    if key not in row.group_specs:
        raise NotFound(f"Group Type {row.id} has no extra spec with key {key}.")
    return json_answer({key: row.group_specs[key]})


def create_specs(call: Call) -> Answer:
    """POST: these, beside those that are there."""
    call.enforce(f"{SPEC_RULE}:create")
    body = call.body(_CREATE_SPECS)
    with call.write() as session:
        row = _found(call, session)
        row.group_specs = {**row.group_specs, **body["group_specs"]}
    return json_answer(body, 202)


def update_spec(call: Call) -> Answer:
    """PUT of one."""
    call.enforce(f"{SPEC_RULE}:update")
    body = call.body(_UPDATE_SPECS)
    with call.write() as session:
        row = _found(call, session)
        if call.path["key"] not in body:
            raise BadRequest("Request body and URI mismatch")
        row.group_specs = {**row.group_specs, **body}
    return json_answer(body)


def delete_spec(call: Call) -> Answer:
    """DELETE of one."""
    call.enforce(f"{SPEC_RULE}:delete")
    key = call.path["key"]
    with call.write() as session:
        row = _found(call, session)
        if key not in row.group_specs:
            raise NotFound(f"Group Type {row.id} has no specs with key {key}.")
        row.group_specs = {k: v for k, v in row.group_specs.items() if k != key}
    return Answer(202)


_TYPE = "/v3/group_types/{group_type_id}"
ROUTES: Final = [
    ("GET", "/v3/group_types", list_types, SINCE),
    ("POST", "/v3/group_types", create_type, SINCE),
    ("GET", _TYPE, show_type, SINCE),
    ("PUT", _TYPE, update_type, SINCE),
    ("DELETE", _TYPE, delete_type, SINCE),
    ("GET", f"{_TYPE}/group_specs", list_specs, SINCE),
    ("POST", f"{_TYPE}/group_specs", create_specs, SINCE),
    ("GET", f"{_TYPE}/group_specs/{{key}}", show_spec, SINCE),
    ("PUT", f"{_TYPE}/group_specs/{{key}}", update_spec, SINCE),
    ("DELETE", f"{_TYPE}/group_specs/{{key}}", delete_spec, SINCE),
]
