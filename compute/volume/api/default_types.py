"""/v3/default-types: the types that projects' volumes get where none is asked for."""

from typing import Final

from sqlalchemy import select

from compute.server.errors import BadRequest, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.kinds import type_for
from compute.volume.models.types import DefaultType

SINCE: Final = 62
RULE: Final = "volume_extension:default"

_SET = Schema(forms.within("default_type", {"volume_type": forms.NAME}, "volume_type"))


def _view(row: DefaultType) -> dict[str, str]:
    return {"project_id": row.project_id, "volume_type_id": row.type_id}


async def _check_project(call: Call, rule: str) -> str:
    """The project of the path, which there is. Raises Forbidden, NotFound."""
    project_id = call.path["target_id"]
    call.enforce(rule, project_id=project_id)
    if not await call.site.authenticator.has_project(project_id):
        raise NotFound(f"Project with id {project_id} not found.")
    return project_id


async def set_default(call: Call) -> Answer:
    """PUT of a project's."""
    project_id = await _check_project(call, f"{RULE}_set_or_update")
    asked = call.body(_SET)["default_type"]["volume_type"]

    def store() -> DefaultType:
        with call.write() as session:
            try:
                kind = type_for(session, call.context, asked)
            except NotFound as error:
                raise BadRequest(error.message) from error
            return session.merge(DefaultType(project_id=project_id, type_id=kind.id))

    return json_answer({"default_type": _view(await call.site.database.run(store))})


async def show_default(call: Call) -> Answer:
    """GET of a project's."""
    project_id = await _check_project(call, f"{RULE}_get")

    def look() -> DefaultType | None:
        with call.read() as session:
            return session.get(DefaultType, project_id)

    row = await call.site.database.run(look)
    if row is None:
        raise NotFound(f"Default type for project {project_id} not found.")
    return json_answer({"default_type": _view(row)})


def list_defaults(call: Call) -> Answer:
    """GET of all."""
    call.enforce(f"{RULE}_get_all")
    with call.read() as session:
        rows = session.scalars(select(DefaultType).order_by(DefaultType.project_id)).all()
    return json_answer({"default_types": [_view(row) for row in rows]})


def unset_default(call: Call) -> Answer:
    """DELETE of a project's, also of one that is no more."""
    project_id = call.path["target_id"]
    call.enforce(f"{RULE}_unset", project_id=project_id)
    with call.write() as session:
        row = session.get(DefaultType, project_id)
        if row is not None:
            session.delete(row)
    return NO_CONTENT


_ONE = "/v3/default-types/{target_id}"
ROUTES: Final = [
    ("GET", "/v3/default-types", list_defaults, SINCE),
    ("GET", _ONE, show_default, SINCE),
    ("PUT", _ONE, set_default, SINCE),
    ("DELETE", _ONE, unset_default, SINCE),
]
