"""/v3/types/{type_id}/os-volume-type-access and /action: the projects that may use a private type."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, Conflict, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.types import RULE, found
from compute.volume.call import Call
from compute.volume.models.types import TypeAccess, VolumeType

_PROJECT = {"project": {"type": "string", "minLength": 1, "maxLength": 255}}
_ADD = Schema(forms.within("addProjectAccess", _PROJECT, "project"))
_REMOVE = Schema(forms.within("removeProjectAccess", _PROJECT, "project"))


def list_access(call: Call) -> Answer:
    """GET /v3/types/{type_id}/os-volume-type-access."""
    call.enforce(f"{RULE}:volume_type_access:get_all_for_type")
    with call.read() as session:
        row = found(call, session)
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
    row = found(call, session)
    if row.is_public:
        raise BadRequest(
            "Invalid volume type: Type access modification is not applicable to public volume type."
        )
    return row


ROUTES: Final = [
    ("POST", "/v3/types/{type_id}/action", act),
    ("GET", "/v3/types/{type_id}/os-volume-type-access", list_access),
]
