"""Backups as the API shows them; their bytes are `compute.backup`'s."""

from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class Backup(Base):
    """A backup. host: whose process does what is under way with it. parent_id: what it adds to.

    container: as its maker named it. store, copy_id, sealed_key: where its bytes are, once they are;
    of one that is being imported, where they were said to be. source: the volume's own facts, which a
    restored volume gets. restore_volume_id: the volume that it is being restored to; restore_new: made
    for that. object_count: that it refers to, once it is made; others may refer to them, too.
    """

    __tablename__ = "volume_backup"
    __table_args__ = (Index("ix_volume_backup_project_id_created_us", "project_id", "created_us"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(ID_CHARS))
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    volume_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    snapshot_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    parent_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    container: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    zone: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    host: Mapped[str] = mapped_column(String(NAME_CHARS), index=True)
    status: Mapped[str] = mapped_column(String(NAME_CHARS), index=True)
    fail_reason: Mapped[str | None] = mapped_column(Text)
    size_gib: Mapped[int]
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    source: Mapped[dict[str, Any]] = mapped_column(default=dict)
    store: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    copy_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_import: Mapped[bool] = mapped_column(default=False)
    object_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    restore_volume_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    restore_new: Mapped[bool] = mapped_column(default=False)
    data_us: Mapped[int] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)
