"""Volumes that are kept together: types of groups, groups, and snapshots of all of a group at once.

Which volumes and snapshots belong to one is said in their own rows.
"""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class GroupType(Base):
    """A kind of groups."""

    __tablename__ = "volume_group_type"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), unique=True)
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    is_public: Mapped[bool] = mapped_column(default=True)
    group_specs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class VolumeGroup(Base):
    """A group. host: that took the request which is under way, "" for none."""

    __tablename__ = "volume_group"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    status: Mapped[str] = mapped_column(String(NAME_CHARS))
    zone: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    host: Mapped[str] = mapped_column(String(NAME_CHARS))
    group_type_id: Mapped[str] = mapped_column(ForeignKey("volume_group_type.id"), index=True)
    group_snapshot_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    source_group_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class GroupVolumeType(Base):
    """A type that a group's volumes may have."""

    __tablename__ = "volume_group_volume_type"

    group_id: Mapped[str] = mapped_column(
        ForeignKey("volume_group.id", ondelete="CASCADE"), primary_key=True
    )
    type_id: Mapped[str] = mapped_column(ForeignKey("volume_type.id"), primary_key=True, index=True)


class GroupSnapshot(Base):
    """Snapshots of all volumes of a group, taken at one moment."""

    __tablename__ = "volume_group_snapshot"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("volume_group.id"), index=True)
    group_type_id: Mapped[str] = mapped_column(String(ID_CHARS))
    project_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    status: Mapped[str] = mapped_column(String(NAME_CHARS))
    host: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_us: Mapped[int] = mapped_column(BigInteger)
