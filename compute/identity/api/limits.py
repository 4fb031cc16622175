"""/v3/registered_limits and /v3/limits: kept for the services that enforce them (the flat model)."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.call import Call
from compute.identity.errors import duplicate, not_found
from compute.identity.models.catalog import Region, Service
from compute.identity.models.projects import Limit, Project, RegisteredLimit
from compute.identity.resource import Resource, link, store
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import Answer, json_answer
from compute.server.schema import ID, NAME, TEXT_OR_NULL, Schema, object_of

_NUMBER = {"type": "integer", "minimum": -1, "maximum": 0x7FFFFFFF}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 0x7FFFFFFF}
_REGISTERED = {
    "service_id": ID,
    "region_id": TEXT_OR_NULL,
    "resource_name": NAME,
    "default_limit": _COUNT,
    "description": TEXT_OR_NULL,
}
_LIMIT = {
    "project_id": {**ID, "type": ["string", "null"]},
    "domain_id": {**ID, "type": ["string", "null"]},
    "service_id": ID,
    "region_id": TEXT_OR_NULL,
    "resource_name": NAME,
    "resource_limit": _NUMBER,
    "description": TEXT_OR_NULL,
}
_FLAT = {
    "name": "flat",
    "description": "Limits do not take the hierarchy of projects into consideration.",
}


def _registered_view(_session: Session, row: RegisteredLimit) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", *_REGISTERED)}


def _check_references(session: Session, fields: dict[str, Any]) -> None:
    if "service_id" in fields and session.get(Service, fields["service_id"]) is None:
        raise BadRequest(f"Could not find service: {fields['service_id']}.")
    if fields.get("region_id") and session.get(Region, fields["region_id"]) is None:
        raise BadRequest(f"Could not find region: {fields['region_id']}.")


def _make_registered(call: Call, session: Session, fields: dict[str, Any]) -> RegisteredLimit:
    row = RegisteredLimit(id=call.identity.new_id(), region_id=None, description=None)
    _change_registered(call, session, row, fields)
    session.add(row)
    return row


def _change_registered(
    _call: Call, session: Session, row: RegisteredLimit, fields: dict[str, Any]
) -> None:
    _check_references(session, fields)
    if row.resource_name is not None:
        _check_unused(session, row, "update")
    store(row, {k: v for k, v in fields.items() if k in _REGISTERED}, tuple(_REGISTERED))
    row.region_key = row.region_id or ""
    table = RegisteredLimit
    query = select(table.id).where(
        table.service_id == row.service_id,
        table.region_key == row.region_key,
        table.resource_name == row.resource_name,
        table.id != row.id,
    )
    with session.no_autoflush:
        if session.scalars(query).first() is not None:
            raise duplicate("registered_limit", "Duplicate entry")


def _check_unused(session: Session, row: RegisteredLimit, verb: str) -> None:
    if session.scalars(select(Limit.id).where(Limit.registered_limit_id == row.id)).first():
        raise Forbidden(
            f"Unable to {verb} registered limit {row.id} because there are project limits"
            " associated with it."
        )


def _remove_registered(_call: Call, session: Session, row: RegisteredLimit) -> None:
    _check_unused(session, row, "delete")
    session.delete(row)


class _Many(Resource[Any]):
    """Several are made by one request, and all or none."""

    def create(self, call: Call) -> Answer:
        given = call.request.json().get(self.many)
        self.create_schema.check(given)
        call.enforce(f"create_{self.many}")
        with call.write() as session:
            rows = []
            for fields in given or []:
                rows.append(self.make(call, session, fields))
                session.flush()
            views = [self.shown(call, session, row) for row in rows]
        return json_answer({self.many: views}, 201)


REGISTERED = _Many(
    noun="registered_limit",
    model=RegisteredLimit,
    create_schema=Schema(
        {
            "type": "array",
            "minItems": 1,
            "items": object_of(
                _REGISTERED, ["service_id", "resource_name", "default_limit"], more=False
            ),
        }
    ),
    update_schema=Schema(object_of(_REGISTERED, more=False)),
    view=_registered_view,
    make=_make_registered,
    change=_change_registered,
    remove=_remove_registered,
    filters=("service_id", "region_id", "resource_name"),
)


def _view(session: Session, row: Limit) -> dict[str, Any]:
    registered = session.get_one(RegisteredLimit, row.registered_limit_id)
    owner = session.get_one(Project, row.owner_id)
    return {
        "id": row.id,
        "project_id": None if owner.is_domain else owner.id,
        "domain_id": owner.id if owner.is_domain else None,
        "service_id": registered.service_id,
        "region_id": registered.region_id,
        "resource_name": registered.resource_name,
        "resource_limit": row.resource_limit,
        "description": row.description,
    }


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Limit:
    _check_references(session, fields)
    owner_id = fields.get("project_id") or fields.get("domain_id")
    if bool(fields.get("project_id")) == bool(fields.get("domain_id")):
        raise BadRequest("Expecting to find either project_id or domain_id in limit.")
    if session.get(Project, owner_id) is None:
        raise not_found("project", str(owner_id))
    table = RegisteredLimit
    registered = session.scalars(
        select(table).where(
            table.service_id == fields["service_id"],
            table.region_key == (fields.get("region_id") or ""),
            table.resource_name == fields["resource_name"],
        )
    ).first()
    if registered is None:
        raise Forbidden("Unable to create a limit that has no corresponding registered limit.")
    taken = select(Limit.id).where(
        Limit.owner_id == owner_id, Limit.registered_limit_id == registered.id
    )
    if session.scalars(taken).first() is not None:
        raise duplicate("limit", "Duplicate entry")
    row = Limit(
        id=call.identity.new_id(),
        owner_id=owner_id,
        registered_limit_id=registered.id,
        resource_limit=fields["resource_limit"],
        description=fields.get("description"),
    )
    session.add(row)
    return row


class _Limits(_Many):
    def list(self, call: Call) -> Answer:
        """One's own; others' for those who may see them."""
        with call.read() as session:
            call.enforce("list_limits")
            views = [self.shown(call, session, row) for row in session.scalars(select(Limit))]
            wanted = {name: call.query(name) for name in _LIMIT}
            found = [
                view
                for view in views
                if all(value is None or view.get(name) == value for name, value in wanted.items())
                and call.allowed("get_limit", limit=self._target(session, view))
            ]
            return call.listed("limits", found)

    def _target(self, session: Session, view: dict[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = {"project_id": view["project_id"]}
        if view["project_id"]:
            project = session.get_one(Project, view["project_id"])
            facts["project"] = {"domain_id": project.domain_id}
        else:
            facts["domain"] = {"id": view["domain_id"]}
        return facts

    def show(self, call: Call) -> Answer:
        with call.read() as session:
            row = session.get(Limit, call.path["limit_id"])
            view = self.shown(call, session, row) if row else None
            call.enforce("get_limit", limit=self._target(session, view) if view else {})
            if view is None:
                raise not_found("limit", call.path["limit_id"])
            return json_answer({"limit": view})


LIMITS = _Limits(
    noun="limit",
    model=Limit,
    create_schema=Schema(
        {
            "type": "array",
            "minItems": 1,
            "items": object_of(_LIMIT, ["service_id", "resource_name", "resource_limit"], more=False),
        }
    ),
    update_schema=Schema(
        object_of({"resource_limit": _NUMBER, "description": TEXT_OR_NULL}, more=False)
    ),
    view=_view,
    make=_make,
    change=lambda _call, _session, row, fields: store(row, fields, ("resource_limit", "description")),
)


def show_model(call: Call) -> Answer:
    """GET /v3/limits/model."""
    call.enforce("get_limit_model")
    return json_answer({"model": _FLAT, "links": link(call, "limits", "model")})


ROUTES = [*REGISTERED.routes(), ("GET", "/v3/limits/model", show_model), *LIMITS.routes()]
