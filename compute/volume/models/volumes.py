"""Volumes and their snapshots. Sizes are in GiB, as the API counts them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column, validates

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class _Status:
    """status_by_hand: an administrator said so. It begins no work, whatever the status is."""

    status: Mapped[str] = mapped_column(String(NAME_CHARS), index=True)
    status_by_hand: Mapped[bool] = mapped_column(default=False, server_default=false())

    @validates("status")
    def _set_by_the_room(self, _key: str, status: str) -> str:
        self.status_by_hand = False
        return status


class Volume(_Status, Base):
    """A volume. host: the process's host that does what is under way with it. backend: its driver.

    meta: the users' metadata. admin_meta: `readonly`, `attached_mode`. image_meta: of the image that it
    was made from. consumes_quota: False for what the room made for itself. task: what the status alone
    does not say of the work that is under way.
    """

    __tablename__ = "volume"
    __table_args__ = (Index("ix_volume_project_id_created_us", "project_id", "created_us"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(ID_CHARS))
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    size_gib: Mapped[int]
    previous_status: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    attach_status: Mapped[str] = mapped_column(String(NAME_CHARS))
    migration_status: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    volume_type_id: Mapped[str | None] = mapped_column(ForeignKey("volume_type.id"), index=True)
    zone: Mapped[str] = mapped_column(String(NAME_CHARS))
    host: Mapped[str | None] = mapped_column(String(NAME_CHARS), index=True)
    backend: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    is_bootable: Mapped[bool] = mapped_column(default=False)
    is_encrypted: Mapped[bool] = mapped_column(default=False)
    is_multiattach: Mapped[bool] = mapped_column(default=False)
    consumes_quota: Mapped[bool] = mapped_column(default=True)
    snapshot_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    source_volume_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    image_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    group_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    admin_meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    image_meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    task: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)
    launched_us: Mapped[int | None] = mapped_column(BigInteger)


class Snapshot(_Status, Base):
    """A volume's bytes of one moment. volume_type_id: the volume's, for quotas by type."""

    __tablename__ = "volume_snapshot"
    __table_args__ = (Index("ix_volume_snapshot_project_id_created_us", "project_id", "created_us"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id"), index=True)
    volume_type_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    project_id: Mapped[str] = mapped_column(String(ID_CHARS))
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    size_gib: Mapped[int]
    progress: Mapped[str] = mapped_column(String(16), default="0%")
    consumes_quota: Mapped[bool] = mapped_column(default=True)
    group_snapshot_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class ImageHold(Base):
    """A volume was made of an image's own bytes. They stay until nothing stands on them any more."""

    __tablename__ = "volume_image_hold"

    volume_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(ID_CHARS))
    host: Mapped[str] = mapped_column(String(NAME_CHARS))
    backend: Mapped[str] = mapped_column(String(NAME_CHARS))
