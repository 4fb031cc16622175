"""/v2/metadefs/namespaces/{namespace}/objects."""

from typing import Any, Final

from sqlalchemy import select

from compute.image.metadefs import items
from compute.image.metadefs.call import Call, Handler
from compute.image.metadefs.models import MetadefObject
from compute.image.metadefs.paging import page
from compute.image.metadefs.schemas import NAMELESS_PROPERTY_BODY, OBJECT_BODY
from compute.server.request import NO_CONTENT, Answer, json_answer

SORT_KEYS: Final = ("created_at", "updated_at", "name", "id")


def _body(call: Call) -> dict[str, Any]:
    fields = call.body(OBJECT_BODY)
    for definition in fields.get("properties", {}).values():
        NAMELESS_PROPERTY_BODY.check(definition)
    return fields


def list_objects(call: Call) -> Answer:
    """GET of the collection; a marker is an object's name."""
    limit = call.limit()
    key, downwards = call.order(SORT_KEYS)
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_objects")
        at = call.request.query.get("marker")
        marker = items.found(session, MetadefObject, namespace, at) if at else None
        query = select(MetadefObject).where(MetadefObject.namespace_id == namespace.id)
        rows = page(session, query, MetadefObject, key, downwards, marker, limit)
        shown = [
            items.object_view(namespace, row)
            for row in rows
            if call.allowed("get_metadef_object", namespace)
        ]
    return json_answer({"objects": shown, "schema": "v2/schemas/metadefs/objects"})


def create_object(call: Call) -> Answer:
    """POST."""
    fields = _body(call)
    with call.write() as session:
        namespace = call.namespace(session, "add_metadef_object")
        row = items.add_object(call, session, namespace, fields)
        return json_answer(items.object_view(namespace, row), 201)


def show_object(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_object")
        row = items.found(session, MetadefObject, namespace, call.path["object_name"])
        return json_answer(items.object_view(namespace, row))


def update_object(call: Call) -> Answer:
    """PUT: the whole object anew."""
    fields = _body(call)
    with call.write() as session:
        namespace = call.namespace(session, "modify_metadef_object")
        row = items.found(session, MetadefObject, namespace, call.path["object_name"])
        row.name = items.free(session, MetadefObject, namespace, fields["name"], row)
        items.set_object(row, fields)
        row.updated_us = call.now_us
        session.flush()
        return json_answer(items.object_view(namespace, row))


def delete_object(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        namespace = call.namespace(session, "delete_metadef_object")
        row = items.found(session, MetadefObject, namespace, call.path["object_name"])
        items.check_deletable(namespace, row)
        session.delete(row)
    return NO_CONTENT


_ALL: Final = "/v2/metadefs/namespaces/{namespace}/objects"
_ONE: Final = f"{_ALL}/{{object_name}}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", _ALL, list_objects),
    ("POST", _ALL, create_object),
    ("GET", _ONE, show_object),
    ("PUT", _ONE, update_object),
    ("DELETE", _ONE, delete_object),
]
