"""What is in a namespace: looked up, made and shown, for the routes of each kind and for the whole."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from compute.image.metadefs.call import Call, instant
from compute.image.metadefs.models import (
    NAME_CHARS,
    Association,
    Item,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    Namespace,
    ResourceType,
)
from compute.server.errors import BadRequest, Conflict, Forbidden, NotFound

Kind = TypeVar("Kind", bound=Item)

_MISSING: Final[dict[type[Item], str]] = {
    MetadefObject: "The metadata definition object",
    MetadefProperty: "The metadata definition property",
    MetadefTag: "The metadata definition tag",
}
_TAKEN: Final[dict[type[Item], str]] = {
    MetadefObject: "A metadata definition object",
    MetadefProperty: "A metadata definition property",
    MetadefTag: "A metadata tag",
}
_PROTECTED: Final[dict[type[Item], str]] = {
    MetadefObject: "object",
    MetadefProperty: "property",
    MetadefTag: "tag",
    Association: "resource-type-association",
}


def all_of(session: Session, model: type[Kind], namespace: Namespace) -> Sequence[Kind]:
    """The items of one kind, by name."""
    query = select(model).where(model.namespace_id == namespace.id).order_by(model.name)
    return session.scalars(query).all()


def find(session: Session, model: type[Kind], namespace: Namespace, name: str) -> Kind | None:
    """One item; tags whatever their case."""
    same = func.lower(model.name) == name.lower() if model is MetadefTag else model.name == name
    return session.scalar(select(model).where(model.namespace_id == namespace.id, same))


def found(session: Session, model: type[Kind], namespace: Namespace, name: str) -> Kind:
    """One item. Raises NotFound."""
    row = find(session, model, namespace, name)
    if row is None:
        raise NotFound(
            f"{_MISSING[model]} with name={name} was not found in namespace={namespace.namespace}."
        )
    return row


def free(
    session: Session, model: type[Kind], namespace: Namespace, name: Any, but: Kind | None = None
) -> str:
    """The name, where it is one and nobody else's. Raises BadRequest, Conflict."""
    if not isinstance(name, str) or not name or len(name) > NAME_CHARS or "/" in name:
        raise BadRequest(f"A name is needed, of up to {NAME_CHARS} characters and no slash.")
    there = find(session, model, namespace, name)
    if there is not None and there is not but:
        case = (
            " (Please note that metadata tag names are case insensitive)."
            if model is MetadefTag
            else ""
        )
        raise Conflict(
            f"{_TAKEN[model]} with name={name} already exists in namespace={namespace.namespace}.{case}"
        )
    return name


def check_deletable(namespace: Namespace, row: Item) -> None:
    """Raises Forbidden."""
    if namespace.protected:
        raise Forbidden(
            f"Metadata definition {_PROTECTED[type(row)]} {row.name} is protected"
            " and cannot be deleted."
        )


def _common(call: Call, namespace: Namespace) -> dict[str, Any]:
    return {
        "id": call.site.new_id(),
        "namespace_id": namespace.id,
        "created_us": call.now_us,
        "updated_us": call.now_us,
    }


def _dates(row: Item | ResourceType) -> dict[str, str]:
    return {"created_at": instant(row.created_us), "updated_at": instant(row.updated_us)}


def _said(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if value is not None}


# -- objects --


def add_object(
    call: Call, session: Session, namespace: Namespace, fields: dict[str, Any]
) -> MetadefObject:
    """Raises BadRequest, Conflict."""
    row = MetadefObject(
        **_common(call, namespace), name=free(session, MetadefObject, namespace, fields.get("name"))
    )
    set_object(row, fields)
    session.add(row)
    session.flush()
    return row


def set_object(row: MetadefObject, fields: dict[str, Any]) -> None:
    """What an object says besides its name."""
    row.description = fields.get("description")
    row.required = fields.get("required")
    row.properties = fields.get("properties")


def object_view(namespace: Namespace, row: MetadefObject) -> dict[str, Any]:
    """An object."""
    return _said(
        {
            "name": row.name,
            "description": row.description,
            "required": row.required if row.required is not None else [],
            "properties": row.properties if row.properties is not None else {},
            **_dates(row),
            "self": f"/v2/metadefs/namespaces/{namespace.namespace}/objects/{row.name}",
            "schema": "/v2/schemas/metadefs/object",
        }
    )


# -- properties --


def add_property(
    call: Call, session: Session, namespace: Namespace, name: str, definition: dict[str, Any]
) -> MetadefProperty:
    """Raises BadRequest, Conflict."""
    row = MetadefProperty(
        **_common(call, namespace),
        name=free(session, MetadefProperty, namespace, name),
        definition=nameless(definition),
    )
    session.add(row)
    session.flush()
    return row


def nameless(definition: dict[str, Any]) -> dict[str, Any]:
    """A property's definition without its name."""
    return {name: value for name, value in definition.items() if name != "name"}


def property_view(row: MetadefProperty) -> dict[str, Any]:
    """A property with its name."""
    return {"name": row.name, **row.definition}


# -- tags --


def add_tag(call: Call, session: Session, namespace: Namespace, name: Any) -> MetadefTag:
    """Raises BadRequest, Conflict."""
    row = MetadefTag(**_common(call, namespace), name=free(session, MetadefTag, namespace, name))
    session.add(row)
    session.flush()
    return row


def tag_view(row: MetadefTag) -> dict[str, Any]:
    """A tag."""
    return {"name": row.name, **_dates(row)}


# -- associations --


def associate(
    call: Call, session: Session, namespace: Namespace, fields: dict[str, Any]
) -> Association:
    """A type of resources that is not known yet is made. Raises BadRequest, Conflict."""
    name = fields.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS:
        raise BadRequest("A resource type's name is needed.")
    if find(session, Association, namespace, name) is not None:
        raise Conflict(
            f"The metadata definition resource-type association of resource-type={name} to"
            f" namespace={namespace.namespace} already exists."
        )
    if session.get(ResourceType, name) is None:
        session.add(
            ResourceType(name=name, protected=False, created_us=call.now_us, updated_us=call.now_us)
        )
    row = Association(
        **_common(call, namespace),
        name=name,
        prefix=fields.get("prefix"),
        properties_target=fields.get("properties_target"),
    )
    session.add(row)
    session.flush()
    return row


def association_view(row: Association) -> dict[str, Any]:
    """An association."""
    return _said(
        {
            "name": row.name,
            "prefix": row.prefix,
            "properties_target": row.properties_target,
            **_dates(row),
        }
    )


def resource_type_view(row: ResourceType) -> dict[str, Any]:
    """A type of resources."""
    return {"name": row.name, **_dates(row)}
