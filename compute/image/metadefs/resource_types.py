"""/v2/metadefs/resource_types and the associations of a namespace with them."""

from typing import Final

from sqlalchemy import select

from compute.image.metadefs import items
from compute.image.metadefs.call import Call, Handler
from compute.image.metadefs.models import Association, ResourceType
from compute.image.metadefs.schemas import ASSOCIATION_BODY
from compute.server.errors import NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer


def list_resource_types(call: Call) -> Answer:
    """GET /v2/metadefs/resource_types."""
    call.enforce("list_metadef_resource_types")
    with call.read() as session:
        rows = session.scalars(select(ResourceType).order_by(ResourceType.name)).all()
        return json_answer({"resource_types": [items.resource_type_view(row) for row in rows]})


def list_associations(call: Call) -> Answer:
    """GET of a namespace's."""
    with call.read() as session:
        namespace = call.namespace(session, "list_metadef_resource_types")
        rows = items.all_of(session, Association, namespace)
        may = call.allowed("get_metadef_resource_type", namespace)
        shown = [items.association_view(row) for row in rows if may]
        return json_answer({"resource_type_associations": shown})


def create_association(call: Call) -> Answer:
    """POST."""
    fields = call.body(ASSOCIATION_BODY, ("created_at", "updated_at"))
    with call.write() as session:
        namespace = call.namespace(session, "add_metadef_resource_type_association")
        row = items.associate(call, session, namespace, fields)
        return json_answer(items.association_view(row), 201)


def delete_association(call: Call) -> Answer:
    """DELETE of one; the type of resources stays."""
    name = call.path["resource_type"]
    with call.write() as session:
        namespace = call.namespace(session, "remove_metadef_resource_type_association")
        row = items.find(session, Association, namespace, name)
        if row is None:
            raise NotFound(f"Failed to find resource type {name} to delete")
        items.check_deletable(namespace, row)
        session.delete(row)
    return NO_CONTENT


_ALL: Final = "/v2/metadefs/namespaces/{namespace}/resource_types"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "/v2/metadefs/resource_types", list_resource_types),
    ("GET", _ALL, list_associations),
    ("POST", _ALL, create_association),
    ("DELETE", f"{_ALL}/{{resource_type}}", delete_association),
]
