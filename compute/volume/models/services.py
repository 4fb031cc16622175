"""Which processes serve volumes, and what users are told about what went wrong."""

from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class VolumeService(Base):
    """A service on a host. seen_us: its last sign of life; log_levels: of its loggers then.

    host: of cinder-volume `<host>@<backend>`; *_bytes: of the backend, None where there is no bound.
    """

    __tablename__ = "volume_service"

    host: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    binary: Mapped[str] = mapped_column(String(64), primary_key=True)
    zone: Mapped[str] = mapped_column(String(NAME_CHARS))
    is_disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    is_frozen: Mapped[bool] = mapped_column(default=False)
    total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    free_bytes: Mapped[int | None] = mapped_column(BigInteger)
    log_levels: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_us: Mapped[int] = mapped_column(BigInteger)
    seen_us: Mapped[int] = mapped_column(BigInteger)


class LogLevel(Base):
    """A level that an operator set for a host's loggers; processes that ran then follow it."""

    __tablename__ = "volume_log_level"

    host: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    prefix: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    level: Mapped[str] = mapped_column(String(16))
    set_us: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Message(Base):
    """Why a user's request came to nothing, in the terms of `compute.volume.messages`."""

    __tablename__ = "volume_message"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    request_id: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    resource_type: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    resource_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    event_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    action_id: Mapped[str] = mapped_column(String(16))
    detail_id: Mapped[str] = mapped_column(String(16))
    level: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int] = mapped_column(BigInteger, index=True)
