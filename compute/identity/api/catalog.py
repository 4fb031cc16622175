"""/v3/regions, /v3/services, /v3/endpoints."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.call import Call
from compute.identity.catalog_view import may_be_filled
from compute.identity.errors import duplicate
from compute.identity.models.catalog import Endpoint, Region, Service
from compute.identity.resource import Resource, store
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import Answer, json_answer
from compute.server.schema import BOOLEAN, ID, NAME, STRING, TEXT_OR_NULL, URL, Schema, object_of

# -- regions --

_REGION = {"description": TEXT_OR_NULL, "parent_region_id": TEXT_OR_NULL}
_REGION_ID = {"type": "string", "minLength": 0, "maxLength": 255}


def _region_view(_session: Session, row: Region) -> dict[str, Any]:
    return {
        **row.extra,
        "id": row.id,
        "description": row.description,
        "parent_region_id": row.parent_region_id,
    }


def _check_parent(session: Session, row: Region, parent_id: str | None) -> None:
    at = parent_id
    while at is not None:
        if at == row.id:
            raise BadRequest(
                f"The specified parent region {parent_id} would create a circular region hierarchy."
            )
        parent = session.get(Region, at)
        if parent is None:
            raise BadRequest(f"Could not find region: {at}.")
        at = parent.parent_region_id


def _make_region(call: Call, session: Session, fields: dict[str, Any]) -> Region:
    row = Region(id=fields.get("id") or call.identity.new_id(), extra={})
    if session.get(Region, row.id) is not None:
        raise duplicate("region", f"Duplicate ID, {row.id}")
    _change_region(call, session, row, fields)
    session.add(row)
    return row


def _change_region(_call: Call, session: Session, row: Region, fields: dict[str, Any]) -> None:
    _check_parent(session, row, fields.get("parent_region_id"))
    fields = {**fields, "description": fields.get("description", row.description) or ""}
    store(row, fields, ("description", "parent_region_id"))


def _remove_region(_call: Call, session: Session, row: Region) -> None:
    """With its children; one that has endpoints stays."""
    level, found = [row.id], [row.id]
    while level:
        level = list(session.scalars(select(Region.id).where(Region.parent_region_id.in_(level))))
        found += level
    if session.scalars(select(Endpoint.id).where(Endpoint.region_id.in_(found))).first():
        raise Forbidden(
            f"Unable to delete region {row.id} because it or its child regions have"
            " associated endpoints."
        )
    for ident in reversed(found):
        session.delete(session.get_one(Region, ident))
        session.flush()


class _Regions(Resource[Region]):
    def put(self, call: Call) -> Answer:
        """PUT of an id that the client chose."""
        fields = call.body("region", self.create_schema)
        ident = call.path["region_id"]
        if fields.get("id", ident) != ident:
            raise BadRequest(f"Conflicting region IDs specified: {ident} and {fields['id']}.")
        call.enforce("create_region", region=fields)
        with call.write() as session:
            row = self.make(call, session, {**fields, "id": ident})
            session.flush()
            return json_answer({"region": self.shown(call, session, row)}, 201)


REGIONS = _Regions(
    noun="region",
    model=Region,
    create_schema=Schema(object_of({**_REGION, "id": _REGION_ID})),
    update_schema=Schema(object_of(_REGION, least=1)),
    view=_region_view,
    make=_make_region,
    change=_change_region,
    remove=_remove_region,
    filters=("parent_region_id",),
)

# -- services --

_SERVICE = {"name": NAME, "type": NAME, "enabled": BOOLEAN}


def service_view(_session: Session, row: Service) -> dict[str, Any]:
    """A service as the API shows it."""
    return {**row.extra, "id": row.id, "type": row.type, "enabled": row.enabled}


def _make_service(call: Call, session: Session, fields: dict[str, Any]) -> Service:
    row = Service(id=call.identity.new_id(), enabled=True, extra={})
    store(row, fields, ("type", "enabled"))
    session.add(row)
    return row


class _Services(Resource[Service]):
    def list(self, call: Call) -> Answer:
        """The name is one of the attributes that are kept as they come."""
        call.enforce("list_services")
        with call.read() as session:
            rows = session.scalars(self.filtered(call, select(Service))).all()
            name = call.query("name")
            found = [r for r in rows if name is None or r.extra.get("name") == name]
            return call.listed("services", [self.shown(call, session, row) for row in found])


SERVICES = _Services(
    noun="service",
    model=Service,
    create_schema=Schema(object_of(_SERVICE, ["type"])),
    update_schema=Schema(object_of(_SERVICE, least=1)),
    view=service_view,
    make=_make_service,
    change=lambda _call, _session, row, fields: store(row, fields, ("type", "enabled")),
    filters=("type",),
)

# -- endpoints --

_ENDPOINT = {
    "interface": {"type": "string", "enum": ["admin", "internal", "public"]},
    "region": STRING,
    "region_id": TEXT_OR_NULL,
    "service_id": ID,
    "url": URL,
    "enabled": BOOLEAN,
}
_ENDPOINT_COLUMNS = ("interface", "region_id", "service_id", "url", "enabled")


def endpoint_view(_session: Session, row: Endpoint) -> dict[str, Any]:
    """An endpoint as the API shows it; `region` is the old name of region_id."""
    view = {name: getattr(row, name) for name in ("id", *_ENDPOINT_COLUMNS)}
    return {**row.extra, **view, "region": row.region_id}


def _make_endpoint(call: Call, session: Session, fields: dict[str, Any]) -> Endpoint:
    row = Endpoint(id=call.identity.new_id(), enabled=True, extra={}, region_id=None)
    _change_endpoint(call, session, row, fields)
    session.add(row)
    return row


def _change_endpoint(_call: Call, session: Session, row: Endpoint, fields: dict[str, Any]) -> None:
    fields = dict(fields)
    old = fields.pop("region", None)
    if old and "region_id" not in fields:  # clients of version 2 named regions that were not there yet
        fields["region_id"] = old
        if session.get(Region, old) is None:
            session.add(Region(id=old, description="", extra={}))
            session.flush()
    with session.no_autoflush:
        if fields.get("region_id") and session.get(Region, fields["region_id"]) is None:
            raise BadRequest(f"Could not find region: {fields['region_id']}.")
        if fields.get("service_id") and session.get(Service, fields["service_id"]) is None:
            raise BadRequest(f"Could not find service: {fields['service_id']}.")
    if "url" in fields and not may_be_filled(fields["url"]):
        raise BadRequest(f"Cannot create an endpoint with an invalid URL: {fields['url']}.")
    store(row, fields, _ENDPOINT_COLUMNS)


ENDPOINTS = Resource(
    noun="endpoint",
    model=Endpoint,
    create_schema=Schema(object_of(_ENDPOINT, ["interface", "service_id", "url"])),
    update_schema=Schema(object_of(_ENDPOINT, least=1)),
    view=endpoint_view,
    make=_make_endpoint,
    change=_change_endpoint,
    filters=("interface", "service_id", "region_id"),
)

ROUTES = [
    *REGIONS.routes(),
    ("PUT", "/v3/regions/{region_id}", REGIONS.put),
    *SERVICES.routes(),
    *ENDPOINTS.routes(),
]
