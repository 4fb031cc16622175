"""/v3/OS-EP-FILTER: endpoint groups, and which endpoints a project sees."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.api.catalog import ENDPOINTS
from compute.identity.api.projects import PROJECTS
from compute.identity.call import Call
from compute.identity.catalog_view import fits_group, seen_by_project
from compute.identity.errors import not_found
from compute.identity.models.catalog import (
    Endpoint,
    EndpointGroup,
    ProjectEndpoint,
    ProjectEndpointGroup,
)
from compute.identity.models.projects import Project
from compute.identity.resource import Resource, store
from compute.server.errors import NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import NAME, STRING, TEXT_OR_NULL, Schema, object_of

_FILTERS = object_of(
    {
        "interface": {"type": "string", "enum": ["admin", "internal", "public"]},
        "service_id": STRING,
        "region_id": STRING,
    },
    more=False,
    least=1,
)
_FIELDS = {"name": NAME, "description": TEXT_OR_NULL, "filters": _FILTERS}
_COLUMNS = ("name", "description", "filters")


def _view(_session: Session, row: EndpointGroup) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", *_COLUMNS)}


def _make(call: Call, session: Session, fields: dict[str, Any]) -> EndpointGroup:
    row = EndpointGroup(id=call.identity.new_id())
    store(row, {k: v for k, v in fields.items() if k in _COLUMNS}, _COLUMNS)
    session.add(row)
    return row


def _change(_call: Call, _session: Session, row: EndpointGroup, fields: dict[str, Any]) -> None:
    fields = {k: v for k, v in fields.items() if k in _COLUMNS}
    if "filters" in fields:
        fields["filters"] = {**row.filters, **fields["filters"]}
    store(row, fields, _COLUMNS)


GROUPS = Resource(
    noun="endpoint_group",
    path="OS-EP-FILTER/endpoint_groups",
    model=EndpointGroup,
    create_schema=Schema(object_of(_FIELDS, ["name", "filters"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=_view,
    make=_make,
    change=_change,
    filters=("name",),
)

_TABLES: dict[str, tuple[type[Any], type[Any]]] = {
    "endpoint": (Endpoint, ProjectEndpoint),
    "endpoint_group": (EndpointGroup, ProjectEndpointGroup),
}


def _pair(call: Call, session: Session, kind: str) -> tuple[Any, type[Any], tuple[str, str]]:
    """What the path names, its table of associations, and the key there. Raises NotFound."""
    table, associations = _TABLES[kind]
    ident, project_id = call.path[f"{kind}_id"], call.path["project_id"]
    row = session.get(table, ident)
    if row is None:
        raise not_found(kind.replace("_", " "), ident)
    if session.get(Project, project_id) is None:
        raise not_found("project", project_id)
    return row, associations, (project_id, ident)


def _put(call: Call, kind: str, rule: str) -> Answer:
    call.enforce(rule)
    with call.write() as session:
        _, table, key = _pair(call, session, kind)
        if session.get(table, key) is None:
            session.add(table(**{"project_id": key[0], f"{kind}_id": key[1]}))
    return NO_CONTENT


def _check(call: Call, kind: str, rule: str) -> None:
    call.enforce(rule)
    with call.read() as session:
        _, table, key = _pair(call, session, kind)
        if session.get(table, key) is None:
            raise NotFound(f"Could not find {kind.replace('_', ' ')}: {key[1]}.")


def _delete(call: Call, kind: str, rule: str) -> Answer:
    call.enforce(rule)
    with call.write() as session:
        _, table, key = _pair(call, session, kind)
        row = session.get(table, key)
        if row is None:
            raise NotFound(f"Could not find {kind.replace('_', ' ')}: {key[1]}.")
        session.delete(row)
    return NO_CONTENT


def put_endpoint(call: Call) -> Answer:
    """The project sees the endpoint."""
    return _put(call, "endpoint", "add_endpoint_to_project")


def check_endpoint(call: Call) -> Answer:
    """204 or 404."""
    _check(call, "endpoint", "check_endpoint_in_project")
    return NO_CONTENT


def delete_endpoint(call: Call) -> Answer:
    """The project sees the endpoint no longer."""
    return _delete(call, "endpoint", "remove_endpoint_from_project")


def put_group(call: Call) -> Answer:
    """The project sees the group's endpoints."""
    return _put(call, "endpoint_group", "add_endpoint_group_to_project")


def show_group(call: Call) -> Answer:
    """The association, or 404."""
    _check(call, "endpoint_group", "get_endpoint_group_in_project")
    found = {name: call.path[name] for name in ("project_id", "endpoint_group_id")}
    return json_answer({"endpoint_group": found})


def delete_group(call: Call) -> Answer:
    """The project sees the group's endpoints no longer."""
    return _delete(call, "endpoint_group", "remove_endpoint_group_from_project")


def endpoints_of_project(call: Call) -> Answer:
    """All that the project is limited to, by itself or by groups."""
    call.enforce("list_endpoints_for_project")
    with call.read() as session:
        project_id = call.path["project_id"]
        if session.get(Project, project_id) is None:
            raise not_found("project", project_id)
        ids = seen_by_project(session, project_id) or set()
        rows = session.scalars(select(Endpoint).where(Endpoint.id.in_(ids)).order_by(Endpoint.id))
        return call.listed("endpoints", [ENDPOINTS.shown(call, session, row) for row in rows])


def groups_of_project(call: Call) -> Answer:
    """The groups that the project sees."""
    call.enforce("list_endpoint_groups_for_project")
    with call.read() as session:
        mine = select(ProjectEndpointGroup.endpoint_group_id).where(
            ProjectEndpointGroup.project_id == call.path["project_id"]
        )
        rows = session.scalars(select(EndpointGroup).where(EndpointGroup.id.in_(mine)))
        return call.listed("endpoint_groups", [GROUPS.shown(call, session, row) for row in rows])


def _projects(call: Call, table: type[Any], column: Any, ident: str) -> Answer:
    with call.read() as session:
        ids = select(table.project_id).where(column == ident)
        rows = session.scalars(select(Project).where(Project.id.in_(ids)).order_by(Project.id))
        return call.listed("projects", [PROJECTS.shown(call, session, row) for row in rows])


def projects_of_endpoint(call: Call) -> Answer:
    """The projects that see the endpoint by itself."""
    call.enforce("list_projects_for_endpoint")
    return _projects(call, ProjectEndpoint, ProjectEndpoint.endpoint_id, call.path["endpoint_id"])


def projects_of_group(call: Call) -> Answer:
    """The projects that see the group."""
    call.enforce("list_projects_associated_with_endpoint_group")
    table = ProjectEndpointGroup
    return _projects(call, table, table.endpoint_group_id, call.path["endpoint_group_id"])


def endpoints_of_group(call: Call) -> Answer:
    """The endpoints that fit the group's filters."""
    call.enforce("list_endpoints_associated_with_endpoint_group")
    with call.read() as session:
        group = session.get(EndpointGroup, call.path["endpoint_group_id"])
        if group is None:
            raise not_found("endpoint group", call.path["endpoint_group_id"])
        rows = session.scalars(select(Endpoint).order_by(Endpoint.id)).all()
        found = [row for row in rows if fits_group(group.filters, row)]
        return call.listed("endpoints", [ENDPOINTS.shown(call, session, row) for row in found])


_ROOT = "/v3/OS-EP-FILTER"
_ONE = f"{_ROOT}/projects/{{project_id}}/endpoints/{{endpoint_id}}"
_GROUP = f"{_ROOT}/endpoint_groups/{{endpoint_group_id}}"
ROUTES = [
    *GROUPS.routes(),
    ("PUT", _ONE, put_endpoint),
    ("GET", _ONE, check_endpoint),
    ("DELETE", _ONE, delete_endpoint),
    ("GET", f"{_ROOT}/projects/{{project_id}}/endpoints", endpoints_of_project),
    ("GET", f"{_ROOT}/projects/{{project_id}}/endpoint_groups", groups_of_project),
    ("GET", f"{_ROOT}/endpoints/{{endpoint_id}}/projects", projects_of_endpoint),
    ("GET", f"{_GROUP}/projects", projects_of_group),
    ("GET", f"{_GROUP}/endpoints", endpoints_of_group),
    ("PUT", f"{_GROUP}/projects/{{project_id}}", put_group),
    ("GET", f"{_GROUP}/projects/{{project_id}}", show_group),
    ("DELETE", f"{_GROUP}/projects/{{project_id}}", delete_group),
]
