"""The tables: namespaces, what is in them, and the types of resources that they are for.

Items of a namespace go with it. Names are unique as upstream's: tags whatever their case.
"""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, func
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from compute.database.base import ID_CHARS, Base

NAME_CHARS = 80
DESCRIPTION_CHARS = 500
OWNER_CHARS = 255


class Dated:
    """Instants in microseconds since the Unix epoch."""

    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)


class Namespace(Dated, Base):
    """A namespace. owner: a project's id. visibility: "public" or "private"."""

    __tablename__ = "metadef_namespace"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    namespace: Mapped[str] = mapped_column(String(NAME_CHARS), unique=True)
    display_name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(DESCRIPTION_CHARS))
    visibility: Mapped[str] = mapped_column(String(16))
    protected: Mapped[bool]
    owner: Mapped[str] = mapped_column(String(OWNER_CHARS))


class Item(Dated):
    """What is named within a namespace."""

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))

    @declared_attr
    def namespace_id(self) -> Mapped[str]:
        """Whose it is."""
        return mapped_column(ForeignKey("metadef_namespace.id", ondelete="CASCADE"))


class MetadefObject(Item, Base):
    """A group of properties."""

    __tablename__ = "metadef_object"
    __table_args__ = (UniqueConstraint("namespace_id", "name"),)

    description: Mapped[str | None] = mapped_column(Text)
    required: Mapped[list[Any] | None]
    properties: Mapped[dict[str, Any] | None]


class MetadefProperty(Item, Base):
    """A property. definition: its JSON schema, without the name."""

    __tablename__ = "metadef_property"
    __table_args__ = (UniqueConstraint("namespace_id", "name"),)

    definition: Mapped[dict[str, Any]]


class MetadefTag(Item, Base):
    """A tag."""

    __tablename__ = "metadef_tag"


Index("uq_metadef_tag_namespace_id", MetadefTag.namespace_id, func.lower(MetadefTag.name), unique=True)


class ResourceType(Dated, Base):
    """A type of resources. protected: it came with the tables."""

    __tablename__ = "metadef_resource_type"

    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    protected: Mapped[bool]


class Association(Item, Base):
    """A namespace is for a type of resources, which `name` is."""

    __tablename__ = "metadef_association"
    __table_args__ = (UniqueConstraint("namespace_id", "name"),)

    prefix: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    properties_target: Mapped[str | None] = mapped_column(String(NAME_CHARS))
