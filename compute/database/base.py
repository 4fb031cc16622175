"""What all tables share: the metadata with names for constraints, and the counter of changes.

Instants are whole microseconds since the Unix epoch (columns that end in `_us`), ids 32 hex digits.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID_CHARS = 64
NAME_CHARS = 255

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names that migrations can refer to, the same on every database."""


class Base(DeclarativeBase):
    """The base of all rooms' tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class Extra:
    """A resource that keeps whatever attributes its creator adds, as upstream's do."""

    extra: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Change(Base):
    """How often a room's state was changed: one row per room, raised by each writing transaction.

    A cache whose entries were made at the same number is still true, whichever process wrote.
    """

    __tablename__ = "change"

    room: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, default=0)
