"""/v3/types: volume types, their extra specs, and who may use private ones."""

import ast
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, false, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, Conflict
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.kinds import DEFAULT_NAME, default_type, type_by_id, visible
from compute.volume.matching import is_true
from compute.volume.models.groups import GroupVolumeType
from compute.volume.models.types import DefaultType, VolumeType
from compute.volume.models.volumes import Volume
from compute.volume.paging import next_links, page_of, rows_of
from compute.volume.quotas import forget_type, rename_type

RULE: Final = "volume_extension"
FOR_USERS: Final = ("RESKEY:availability_zones", "multiattach", "replication_enabled")
"""Extra specs that users may see."""

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


def specs_for(call: Call, specs: Mapping[str, Any]) -> dict[str, Any]:
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
        view["extra_specs"] = specs_for(call, specs)
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
    return found(call, session)


def found(call: Call, session: Session) -> VolumeType:
    """The type of the path. Raises NotFound."""
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
        row = found(call, session)
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
        row = found(call, session)
        _check_no_default(session, row)
        if in_use(session, row) or _in_group(session, row):
            raise BadRequest("Target volume type is still in use.")
        forget_type(session, row.name)
        session.delete(row)
    return Answer(202)


def _check_no_default(session: Session, row: VolumeType) -> None:
    of_project = session.scalar(select(DefaultType).where(DefaultType.type_id == row.id).limit(1))
    if of_project is not None or row.name == DEFAULT_NAME:
        raise BadRequest(f"The volume type {row.id} is a default volume type and cannot be deleted.")


def in_use(session: Session, row: VolumeType) -> bool:
    """Whether volumes have it."""
    return session.scalar(select(Volume.id).where(Volume.volume_type_id == row.id).limit(1)) is not None


def _in_group(session: Session, row: VolumeType) -> bool:
    query = select(GroupVolumeType.group_id).where(GroupVolumeType.type_id == row.id).limit(1)
    return session.scalar(query) is not None


_TYPE = "/v3/types/{type_id}"
ROUTES: Final = [
    ("GET", "/v3/types", list_types),
    ("POST", "/v3/types", create_type),
    ("GET", _TYPE, show_type),
    ("PUT", _TYPE, update_type),
    ("DELETE", _TYPE, delete_type),
]
