"""/v3/types: volume types, their extra specs, and who may use private ones."""

import ast
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, false, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, Conflict, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.kinds import DEFAULT_NAME, default_type, type_by_id, visible
from compute.volume.matching import is_true
from compute.volume.models.groups import GroupVolumeType
from compute.volume.models.types import DefaultType, TypeAccess, VolumeType
from compute.volume.models.volumes import Volume
from compute.volume.paging import next_links, page_of, rows_of
from compute.volume.quotas import forget_type, rename_type

RULE: Final = "volume_extension"
FOR_USERS: Final = ("RESKEY:availability_zones", "multiattach", "replication_enabled")
"""Extra specs that users may see."""
YES: Final = "<is> True"

_CREATE = Schema(
    forms.within(
        "volume_type",
        {
            "name": forms.NAME,
            "description": forms.DESCRIPTION,
            "extra_specs": forms.SPECS,
            "os-volume-type-access:is_public": forms.TRUTH,
        },
        "name",
    )
)
_UPDATE = Schema(
    forms.within(
        "volume_type",
        {
            "name": forms.NEW_NAME_OR_NULL,
            "description": forms.DESCRIPTION,
            "is_public": forms.TRUTH,
        },
    )
)

# -- views --


def _specs_for(call: Call, specs: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the caller may see."""
    if call.allowed(f"{RULE}:types_extra_specs:read_sensitive"):
        return dict(specs)
    return {key: specs[key] for key in FOR_USERS if key in specs}


def _view(row: VolumeType) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "is_public": row.is_public,
        "description": row.description,
        "extra_specs": row.extra_specs,
    }


def _public_key(call: Call, row: VolumeType) -> dict[str, Any]:
    if not call.allowed(f"{RULE}:volume_type_access"):
        return {}
    return {"os-volume-type-access:is_public": row.is_public}


def _shown(call: Call, row: VolumeType) -> dict[str, Any]:
    """As much of a type as the caller may see."""
    view = _view(row)
    specs = view.pop("extra_specs")
    if call.allowed(f"{RULE}:access_types_extra_specs"):
        view["extra_specs"] = _specs_for(call, specs)
    if call.allowed(f"{RULE}:access_types_qos_specs_id"):
        view["qos_specs_id"] = row.qos_specs_id
    return view | _public_key(call, row)


# -- types --


def list_types(call: Call) -> Answer:
    """GET /v3/types: public ones and the project's; an administrator says `is_public=None` for all."""
    call.enforce(f"{RULE}:type_get_all")
    page = page_of(call.request.query)
    with call.read() as session:
        rows = rows_of(session, _filtered(call), page, _COLUMNS, VolumeType)
    links = next_links(call.request, rows)
    body: dict[str, Any] = {"volume_types": [_shown(call, row) for row in rows]}
    return json_answer(body | ({"volume_type_links": links} if links else {}))


_COLUMNS: Final = {
    "id": VolumeType.id,
    "name": VolumeType.name,
    "created_at": VolumeType.created_us,
    "is_public": VolumeType.is_public,
}


def _filtered(call: Call) -> Select[Any]:
    query = select(VolumeType).where(visible(call.context))
    for key, value in _wanted_specs(call).items():
        matches = VolumeType.extra_specs[key].as_string() == value
        query = query.where(matches if value is not None else false())
    if not call.context.is_admin:
        return query
    asked = call.query("is_public")
    if asked is not None and asked.lower() == "none":
        return query
    return query.where(VolumeType.is_public.is_(asked is None or _truth("is_public", asked)))


def _truth(name: str, value: str) -> bool:
    if value.strip().lower() not in {str(known).lower() for known in forms.TRUTH["enum"]}:
        raise BadRequest(f"Invalid value '{value}' for {name}. Accepted values: True or False.")
    return is_true(value)


def _wanted_specs(call: Call) -> dict[str, str | None]:
    """The filter by extra specs: a Python dictionary, as upstream's clients write it.

    None, which nothing matches, where the caller may not know: no one finds out by filtering.
    """
    text = call.query("extra_specs")
    if text is None:
        return {}
    try:
        wanted = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        wanted = None
    if not isinstance(wanted, dict):
        raise BadRequest("Invalid input received: extra_specs must be a dictionary")
    if not call.allowed(f"{RULE}:types_extra_specs:read_sensitive"):
        wanted = {key: value if key in FOR_USERS else None for key, value in wanted.items()}
    return {str(key): value if value is None else str(value) for key, value in wanted.items()}


def show_type(call: Call) -> Answer:
    """GET of one; `default` is the project's default type."""
    with call.read() as session:
        row = _default_or(call, session)
    call.enforce(f"{RULE}:type_get")
    return json_answer({"volume_type": _shown(call, row)})


def _default_or(call: Call, session: Session) -> VolumeType:
    if call.path["type_id"] == "default":
        return default_type(session, call.context.project_id)
    return _found(call, session)


def _found(call: Call, session: Session) -> VolumeType:
    return type_by_id(session, call.context, call.path["type_id"])


def _check_name_free(session: Session, name: str, row: VolumeType | None = None) -> None:
    other = session.scalar(select(VolumeType).where(VolumeType.name == name))
    if other is not None and other is not row:
        raise Conflict(f"Volume Type {name} already exists.")


def create_type(call: Call) -> Answer:
    """POST /v3/types."""
    call.enforce(f"{RULE}:type_create")
    fields = call.body(_CREATE)["volume_type"]
    with call.write() as session:
        _check_name_free(session, fields["name"])
        row = VolumeType(
            id=call.site.new_uuid(),
            name=fields["name"],
            description=fields.get("description"),
            is_public=is_true(fields.get("os-volume-type-access:is_public", True)),
            extra_specs=fields.get("extra_specs") or {},
            created_us=call.site.now_us(),
        )
        session.add(row)
    return json_answer({"volume_type": _view(row) | _public_key(call, row)})


def update_type(call: Call) -> Answer:
    """PUT of one: name, description, is_public."""
    call.enforce(f"{RULE}:type_update")
    fields = call.body(_UPDATE)["volume_type"]
    name, description = fields.get("name"), fields.get("description")
    if name is not None and not name.strip():
        raise BadRequest("Volume type name can not be empty.")
    if name is None and description is None and fields.get("is_public") is None:
        raise BadRequest("Specify volume type name, description, is_public or a combination thereof.")
    with call.write() as session:
        row = _found(call, session)
        if name is not None and name != row.name:
            _check_name_free(session, name, row)
            rename_type(session, row.name, name)
            row.name = name
        row.description = row.description if description is None else description
        if fields.get("is_public") is not None:
            row.is_public = is_true(fields["is_public"])
        row.updated_us = call.site.now_us()
    return json_answer({"volume_type": _view(row)})


def delete_type(call: Call) -> Answer:
    """DELETE: not of one that volumes have or that is a default."""
    call.enforce(f"{RULE}:type_delete")
    with call.write() as session:
        row = _found(call, session)
        _check_no_default(session, row)
        if _in_use(session, row) or _in_group(session, row):
            raise BadRequest("Target volume type is still in use.")
        forget_type(session, row.name)
        session.delete(row)
    return Answer(202)


def _check_no_default(session: Session, row: VolumeType) -> None:
    of_project = session.scalar(select(DefaultType).where(DefaultType.type_id == row.id).limit(1))
    if of_project is not None or row.name == DEFAULT_NAME:
        raise BadRequest(f"The volume type {row.id} is a default volume type and cannot be deleted.")


def _in_use(session: Session, row: VolumeType) -> bool:
    return session.scalar(select(Volume.id).where(Volume.volume_type_id == row.id).limit(1)) is not None


def _in_group(session: Session, row: VolumeType) -> bool:
    query = select(GroupVolumeType.group_id).where(GroupVolumeType.type_id == row.id).limit(1)
    return session.scalar(query) is not None


# -- extra specs --

_CREATE_SPECS = Schema(
    {
        "type": "object",
        "properties": {"extra_specs": forms.PLAIN_SPECS},
        "required": ["extra_specs"],
        "additionalProperties": False,
    }
)
_UPDATE_SPECS = Schema(forms.ONE_PLAIN_SPEC)


def _for_change(call: Call, session: Session) -> VolumeType:
    row = _found(call, session)
    if _in_use(session, row):
        raise BadRequest("Volume Type is currently in use.")
    return row


def _set_specs(row: VolumeType, specs: Mapping[str, Any], now_us: int) -> None:
    merged = {**row.extra_specs, **specs}
    if merged.get("multiattach") == YES and merged.get("cacheable") == YES:
        raise BadRequest("cacheable cannot be set with multiattach.")
    row.extra_specs, row.updated_us = merged, now_us


def list_specs(call: Call) -> Answer:
    """GET /v3/types/{type_id}/extra_specs."""
    call.enforce(f"{RULE}:types_extra_specs:index")
    with call.read() as session:
        row = _found(call, session)
    return json_answer({"extra_specs": _specs_for(call, row.extra_specs)})


def show_spec(call: Call) -> Answer:
    """GET of one."""
    call.enforce(f"{RULE}:types_extra_specs:show")
    with call.read() as session:
        row = _found(call, session)
    key, specs = call.path["key"], _specs_for(call, row.extra_specs)
    if key not in specs:
        raise _no_such_spec(row.id, key)
    return json_answer({key: specs[key]})


def _no_such_spec(type_id: str, key: str) -> NotFound:
    return NotFound(f"Volume Type {type_id} has no extra specs with key {key}.")


def create_specs(call: Call) -> Answer:
    """POST: these, beside those that are there."""
    call.enforce(f"{RULE}:types_extra_specs:create")
    body = call.body(_CREATE_SPECS)
    with call.write() as session:
        _set_specs(_for_change(call, session), body["extra_specs"], call.site.now_us())
    return json_answer(body)


def update_spec(call: Call) -> Answer:
    """PUT of one."""
    call.enforce(f"{RULE}:types_extra_specs:update")
    body = call.body(_UPDATE_SPECS)
    with call.write() as session:
        row = _for_change(call, session)
        if call.path["key"] not in body:
            raise BadRequest("Request body and URI mismatch")
        _set_specs(row, body, call.site.now_us())
    return json_answer(body)


def delete_spec(call: Call) -> Answer:
    """DELETE of one."""
    call.enforce(f"{RULE}:types_extra_specs:delete")
    key = call.path["key"]
    with call.write() as session:
        row = _for_change(call, session)
        if key not in row.extra_specs:
            raise _no_such_spec(row.id, key)
        row.extra_specs = {k: v for k, v in row.extra_specs.items() if k != key}
        row.updated_us = call.site.now_us()
    return Answer(202)


# -- who may use a private type --

_PROJECT = {"project": {"type": "string", "minLength": 1, "maxLength": 255}}
_ADD = Schema(forms.within("addProjectAccess", _PROJECT, "project"))
_REMOVE = Schema(forms.within("removeProjectAccess", _PROJECT, "project"))


def list_access(call: Call) -> Answer:
    """GET /v3/types/{type_id}/os-volume-type-access."""
    call.enforce(f"{RULE}:volume_type_access:get_all_for_type")
    with call.read() as session:
        row = _found(call, session)
        if row.is_public:
            raise NotFound("Access list not available for public volume types.")
        query = select(TypeAccess.project_id).where(TypeAccess.type_id == row.id)
        projects = session.scalars(query.order_by(TypeAccess.project_id)).all()
    access = [{"volume_type_id": row.id, "project_id": project} for project in projects]
    return json_answer({"volume_type_access": access})


def act(call: Call) -> Answer:
    """POST /v3/types/{type_id}/action."""
    action = next(iter(call.request.json()), None)
    if action == "addProjectAccess":
        return _add_access(call)
    if action == "removeProjectAccess":
        return _remove_access(call)
    raise BadRequest(f"There is no such action: {action}")


def _add_access(call: Call) -> Answer:
    call.enforce(f"{RULE}:volume_type_access:addProjectAccess")
    project_id = call.body(_ADD)["addProjectAccess"]["project"]
    with call.write() as session:
        row = _private(call, session)
        if session.get(TypeAccess, (row.id, project_id)) is not None:
            pair = f"{row.id} / {project_id}"
            raise Conflict(f"Volume type access for {pair} combination already exists.")
        session.add(TypeAccess(type_id=row.id, project_id=project_id))
    return Answer(202)


def _remove_access(call: Call) -> Answer:
    call.enforce(f"{RULE}:volume_type_access:removeProjectAccess")
    project_id = call.body(_REMOVE)["removeProjectAccess"]["project"]
    with call.write() as session:
        row = _private(call, session)
        access = session.get(TypeAccess, (row.id, project_id))
        if access is None:
            pair = f"{row.id} / {project_id}"
            raise NotFound(f"Volume type access not found for {pair} combination.")
        session.delete(access)
    return Answer(202)


def _private(call: Call, session: Session) -> VolumeType:
    row = _found(call, session)
    if row.is_public:
        raise BadRequest(
            "Invalid volume type: Type access modification is not applicable to public volume type."
        )
    return row


_TYPE = "/v3/types/{type_id}"
ROUTES: Final = [
    ("GET", "/v3/types", list_types),
    ("POST", "/v3/types", create_type),
    ("GET", _TYPE, show_type),
    ("PUT", _TYPE, update_type),
    ("DELETE", _TYPE, delete_type),
    ("POST", f"{_TYPE}/action", act),
    ("GET", f"{_TYPE}/os-volume-type-access", list_access),
    ("GET", f"{_TYPE}/extra_specs", list_specs),
    ("POST", f"{_TYPE}/extra_specs", create_specs),
    ("GET", f"{_TYPE}/extra_specs/{{key}}", show_spec),
    ("PUT", f"{_TYPE}/extra_specs/{{key}}", update_spec),
    ("DELETE", f"{_TYPE}/extra_specs/{{key}}", delete_spec),
]
