"""Attachments: who has a volume. Transfers: whom one is offered to."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class Attachment(Base):
    """One use of a volume. export: what the volume's host is to do, see `compute.volume.exports`.

    is_shown: False for what `os-initialize_connection` exports, which the API never lists. mode: `rw`,
    `ro`, or `null` where nothing was said. connection: what a client connects with, once it is there.
    """

    __tablename__ = "volume_attachment"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id", ondelete="CASCADE"), index=True)
    is_shown: Mapped[bool] = mapped_column(default=True)
    instance_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    host_name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    mountpoint: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    mode: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(NAME_CHARS))
    export: Mapped[str] = mapped_column(String(16), default="", index=True)
    connector: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    connection: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    created_us: Mapped[int] = mapped_column(BigInteger)
    attached_us: Mapped[int | None] = mapped_column(BigInteger)


class Transfer(Base):
    """An offer of a volume to whoever knows its key, of which only a salted hash is kept."""

    __tablename__ = "volume_transfer"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id", ondelete="CASCADE"), unique=True)
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    salt: Mapped[str] = mapped_column(String(64))
    key_hash: Mapped[str] = mapped_column(String(128))
    keeps_snapshots: Mapped[bool]
    source_project_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    created_us: Mapped[int] = mapped_column(BigInteger)
