"""/v2/metadefs/namespaces: namespaces, whole on creation and when shown."""

from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from compute.image.metadefs import items
from compute.image.metadefs.call import Call, Handler, instant
from compute.image.metadefs.models import (
    Association,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    Namespace,
)
from compute.image.metadefs.paging import page
from compute.image.metadefs.schemas import NAMESPACE_BODY
from compute.server.errors import BadRequest, Conflict, Forbidden
from compute.server.request import NO_CONTENT, Answer, json_answer

PATH: Final = "/v2/metadefs/namespaces"
_SORT_KEYS: Final = (
    "created_at",
    "updated_at",
    "namespace",
    "display_name",
    "description",
    "visibility",
    "owner",
    "protected",
    "id",
)
_PARTS: Final = (
    ("resource_type_associations", "add_metadef_resource_type_association"),
    ("objects", "add_metadef_object"),
    ("properties", "add_metadef_property"),
    ("tags", "add_metadef_tag"),
)


def view(row: Namespace) -> dict[str, Any]:
    """The namespace itself."""
    shown = {
        "namespace": row.namespace,
        "display_name": row.display_name,
        "description": row.description,
        "visibility": row.visibility,
        "protected": row.protected,
        "owner": row.owner,
        "created_at": instant(row.created_us),
        "updated_at": instant(row.updated_us),
        "self": f"{PATH}/{row.namespace}",
        "schema": "/v2/schemas/metadefs/namespace",
    }
    return {name: value for name, value in shown.items() if value is not None}


def whole(session: Session, row: Namespace) -> dict[str, Any]:
    """The namespace with everything in it."""
    shown = view(row)
    for name, rows in (
        ("objects", [items.object_view(row, o) for o in items.all_of(session, MetadefObject, row)]),
        (
            "resource_type_associations",
            [items.association_view(a) for a in items.all_of(session, Association, row)],
        ),
        ("properties", {p.name: p.definition for p in items.all_of(session, MetadefProperty, row)}),
        ("tags", [{"name": tag.name} for tag in items.all_of(session, MetadefTag, row)]),
    ):
        if rows:
            shown[name] = rows
    return shown


def list_namespaces(call: Call) -> Answer:
    """GET: those that the caller sees."""
    limit = call.limit()
    key, downwards = call.order(_SORT_KEYS)
    visibility = call.request.query.get("visibility")
    if visibility not in (None, "public", "private"):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    call.enforce("get_metadef_namespaces")
    call.enforce("list_metadef_resource_types")
    query = select(Namespace)
    if not call.is_admin:
        mine = Namespace.owner == (call.context.project_id or "")
        query = query.where(or_(Namespace.visibility == "public", mine))
    if visibility:
        query = query.where(Namespace.visibility == visibility)
    if types := call.request.query.get("resource_types"):
        having = select(Association.namespace_id).where(Association.name.in_(types.split(",")))
        query = query.where(Namespace.id.in_(having))
    with call.read() as session:
        at = call.request.query.get("marker")
        marker = call.namespace(session, "get_metadef_namespace", at) if at else None
        rows = page(session, query, Namespace, key, downwards, marker, limit)
        shown = []
        for row in rows:
            if call.allowed("get_metadef_namespace", row):
                kinds = [items.association_view(a) for a in items.all_of(session, Association, row)]
                shown.append({**view(row), **({"resource_type_associations": kinds} if kinds else {})})
    last = rows[-1].namespace if rows and len(rows) == limit else None
    return json_answer({"namespaces": shown, **_links(call, last)})


def _links(call: Call, last: str | None) -> dict[str, str]:
    """first, schema, and next where there may be more."""
    query = {name: value for name, value in call.request.query.items() if name != "marker"}
    first = f"{PATH}?{urlencode(query)}" if query else PATH
    links = {"first": first, "schema": "/v2/schemas/metadefs/namespaces"}
    if last is not None:
        links["next"] = f"{PATH}?{urlencode({**query, 'marker': last})}"
    return links


def create_namespace(call: Call) -> Answer:
    """POST: all of it, or nothing."""
    fields = call.body(NAMESPACE_BODY)
    call.enforce("add_metadef_namespace")
    for name, rule in _PARTS:
        if fields.get(name):
            call.enforce(rule)
    with call.write() as session:
        row = Namespace(
            id=call.site.new_id(),
            namespace=_name_free(session, fields["namespace"], None),
            display_name=fields.get("display_name"),
            description=fields.get("description"),
            visibility=fields.get("visibility", "private"),
            protected=fields.get("protected", False),
            owner=fields.get("owner") or call.context.project_id or "",
            created_us=call.now_us,
            updated_us=call.now_us,
        )
        session.add(row)
        session.flush()
        _fill(call, session, row, fields)
        session.flush()
        shown = whole(session, row)
    return json_answer(shown, 201, {"Location": f"{call.request.base}{PATH}/{row.namespace}"})


def _fill(call: Call, session: Session, row: Namespace, fields: dict[str, Any]) -> None:
    for one in fields.get("resource_type_associations", ()):
        items.associate(call, session, row, one)
    for one in fields.get("objects", ()):
        items.add_object(call, session, row, one)
    for name, definition in fields.get("properties", {}).items():
        items.add_property(call, session, row, name, definition)
    for one in fields.get("tags", ()):
        items.add_tag(call, session, row, one.get("name"))


def _name_free(session: Session, name: str, but: Namespace | None) -> str:
    """Raises Conflict, BadRequest."""
    if not name or "/" in name:
        raise BadRequest("Couldn't create metadata namespace: the name must be a segment of a URL.")
    found = session.scalar(select(Namespace).where(Namespace.namespace == name))
    if found is not None and found is not but:
        raise Conflict(f"The metadata definition namespace={name} already exists.")
    return name


def show_namespace(call: Call) -> Answer:
    """GET of one. With ?resource_type= its properties have that association's prefix."""
    with call.read() as session:
        row = call.namespace(session, "get_metadef_namespace")
        for rule in (
            "list_metadef_resource_types",
            "get_metadef_objects",
            "get_metadef_properties",
            "get_metadef_tags",
        ):
            call.enforce(rule, row)
        shown = whole(session, row)
    if wanted := call.request.query.get("resource_type"):
        _put_prefix(shown, wanted)
    return json_answer(shown)


def _put_prefix(shown: dict[str, Any], resource_type: str) -> None:
    kinds = shown.get("resource_type_associations", ())
    prefix = next((kind.get("prefix") for kind in kinds if kind["name"] == resource_type), None)
    if not prefix:
        return
    for holder in (shown, *shown.get("objects", ())):
        if "properties" in holder:
            holder["properties"] = {f"{prefix}{k}": v for k, v in holder["properties"].items()}
        if holder.get("required"):
            holder["required"] = [f"{prefix}{name}" for name in holder["required"]]


def update_namespace(call: Call) -> Answer:
    """PUT: what is not said gets its default again; what is in the namespace stays."""
    fields = call.body(NAMESPACE_BODY)
    with call.write() as session:
        row = call.namespace(session, "modify_metadef_namespace")
        row.namespace = _name_free(session, fields["namespace"], row)
        row.display_name = fields.get("display_name")
        row.description = fields.get("description")
        row.visibility = fields.get("visibility", "private")
        row.protected = fields.get("protected", False)
        row.owner = fields.get("owner") or call.context.project_id or ""
        row.updated_us = call.now_us
        session.flush()
        return json_answer(view(row))


def delete_namespace(call: Call) -> Answer:
    """DELETE, with everything in it."""
    with call.write() as session:
        row = call.namespace(session, "delete_metadef_namespace")
        _check_unprotected(row)
        for model in (Association, MetadefObject, MetadefProperty, MetadefTag):
            session.execute(delete(model).where(model.namespace_id == row.id))
        session.delete(row)
    return NO_CONTENT


def _check_unprotected(row: Namespace) -> None:
    if row.protected:
        raise Forbidden(
            f"Metadata definition namespace {row.namespace} is protected and cannot be deleted."
        )


def _emptying(model: Any, *rules: str) -> Handler:
    """DELETE of a collection in a namespace."""

    def empty(call: Call) -> Answer:
        with call.write() as session:
            row = call.namespace(session, "delete_metadef_namespace")
            for rule in rules:
                call.enforce(rule, row)
            _check_unprotected(row)
            session.execute(delete(model).where(model.namespace_id == row.id))
        return NO_CONTENT

    return empty


_ONE: Final = f"{PATH}/{{namespace}}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", PATH, list_namespaces),
    ("POST", PATH, create_namespace),
    ("GET", _ONE, show_namespace),
    ("PUT", _ONE, update_namespace),
    ("DELETE", _ONE, delete_namespace),
    ("DELETE", f"{_ONE}/objects", _emptying(MetadefObject)),
    ("DELETE", f"{_ONE}/properties", _emptying(MetadefProperty)),
    ("DELETE", f"{_ONE}/tags", _emptying(MetadefTag, "delete_metadef_tags")),
]
