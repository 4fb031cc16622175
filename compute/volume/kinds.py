"""Which volume types there are for whom: what the rest of the room asks about types."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from compute.access import Context
from compute.server.errors import NotFound
from compute.volume.models.types import DefaultType, QosSpecs, TypeAccess, TypeEncryption, VolumeType

DEFAULT_NAME: Final = "__DEFAULT__"
"""The type that a new cloud has, and that volumes get where no other is chosen."""


class Kind(NamedTuple):
    """A type with all that a volume of it needs to know. qos: specs with their consumer."""

    type_id: str
    name: str
    extra_specs: Mapping[str, str]
    qos: Mapping[str, Any]
    is_encrypted: bool


def no_such_type(type_id: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Volume type {type_id} could not be found.")


def visible(context: Context) -> Any:
    """The condition that a type can be seen by this caller: public, or private and meant for it."""
    if context.is_admin:
        return VolumeType.id.is_not(None)
    mine = select(TypeAccess.type_id).where(TypeAccess.project_id == context.project_id)
    return or_(VolumeType.is_public, VolumeType.id.in_(mine))


def type_by_id(session: Session, context: Context, type_id: str) -> VolumeType:
    """Raises NotFound, also for one that the caller may not see."""
    row = session.scalar(select(VolumeType).where(and_(VolumeType.id == type_id, visible(context))))
    if row is None:
        raise no_such_type(type_id)
    return row


def type_for(session: Session, context: Context, asked: str) -> VolumeType:
    """The type of an id or a name that the caller may use. Raises NotFound."""
    query = select(VolumeType).where(or_(VolumeType.id == asked, VolumeType.name == asked))
    rows = session.scalars(query.where(visible(context))).all()
    if not rows:
        raise no_such_type(asked)
    return next((row for row in rows if row.id == asked), rows[0])


def default_type(session: Session, project_id: str | None) -> VolumeType:
    """The project's default, else the cloud's. Raises NotFound where an operator removed it."""
    chosen = session.get(DefaultType, project_id) if project_id else None
    if chosen is not None:
        return session.get_one(VolumeType, chosen.type_id)
    row = session.scalar(select(VolumeType).where(VolumeType.name == DEFAULT_NAME))
    if row is None:
        raise NotFound("Default volume type can not be found.")
    return row


def kind_of(session: Session, row: VolumeType) -> Kind:
    """A type with what belongs to it."""
    qos = session.get(QosSpecs, row.qos_specs_id) if row.qos_specs_id else None
    specs = {**qos.specs, "consumer": qos.consumer} if qos else {}
    encrypted = session.get(TypeEncryption, row.id) is not None
    return Kind(row.id, row.name, row.extra_specs, specs, encrypted)
