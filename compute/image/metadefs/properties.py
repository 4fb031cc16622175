"""/v2/metadefs/namespaces/{namespace}/properties."""

from typing import Final

from compute.image.metadefs import items
from compute.image.metadefs.call import Call, Handler
from compute.image.metadefs.models import Association, MetadefProperty
from compute.image.metadefs.schemas import PROPERTY_BODY
from compute.server.errors import NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer

_READ_ONLY: Final = ("created_at", "updated_at")


def list_properties(call: Call) -> Answer:
    """GET of the collection: by their names."""
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_properties")
        rows = items.all_of(session, MetadefProperty, namespace)
        return json_answer({"properties": {row.name: row.definition for row in rows}})


def create_property(call: Call) -> Answer:
    """POST."""
    fields = call.body(PROPERTY_BODY, _READ_ONLY)
    with call.write() as session:
        namespace = call.namespace(session, "add_metadef_property")
        row = items.add_property(call, session, namespace, fields["name"], fields)
        return json_answer(items.property_view(row), 201)


def show_property(call: Call) -> Answer:
    """GET of one; with ?resource_type= by its name with that association's prefix."""
    name = call.path["property_name"]
    wanted = call.request.query.get("resource_type")
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_property")
        if wanted:
            call.enforce("get_metadef_resource_type", namespace)
            kind = items.find(session, Association, namespace, wanted)
            if kind is None:
                raise NotFound(
                    "The metadata definition resource-type association of"
                    f" resource-type={wanted} to namespace={namespace.namespace}, was not found."
                )
            if not kind.prefix or not name.startswith(kind.prefix):
                raise NotFound(
                    f"Property {name} does not start with the expected resource type association"
                    f" prefix of '{kind.prefix}'."
                )
            name = name.removeprefix(kind.prefix)
        return json_answer(items.property_view(items.found(session, MetadefProperty, namespace, name)))


def update_property(call: Call) -> Answer:
    """PUT: the whole property anew."""
    fields = call.body(PROPERTY_BODY, _READ_ONLY)
    with call.write() as session:
        namespace = call.namespace(session, "modify_metadef_property")
        row = items.found(session, MetadefProperty, namespace, call.path["property_name"])
        row.name = items.free(session, MetadefProperty, namespace, fields["name"], row)
        row.definition = items.nameless(fields)
        row.updated_us = call.now_us
        session.flush()
        return json_answer(items.property_view(row))


def delete_property(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        namespace = call.namespace(session, "remove_metadef_property")
        row = items.found(session, MetadefProperty, namespace, call.path["property_name"])
        items.check_deletable(namespace, row)
        session.delete(row)
    return NO_CONTENT


_ALL: Final = "/v2/metadefs/namespaces/{namespace}/properties"
_ONE: Final = f"{_ALL}/{{property_name}}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", _ALL, list_properties),
    ("POST", _ALL, create_property),
    ("GET", _ONE, show_property),
    ("PUT", _ONE, update_property),
    ("DELETE", _ONE, delete_property),
]
