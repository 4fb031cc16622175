"""The tables of images. Bytes are objects: `ImageCopy` names them, `Effort` what is under way.

Statuses: queued, saving (an upload), uploading (staged), importing, active, deactivated. A deleted
image has no row; its bytes are an `Effort` without a host until they are gone.
"""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base

STORE_CHARS = 64


class Image(Base):
    """An image. importing_to, failed_stores: stores' names with commas between, of the last import."""

    __tablename__ = "image"
    __table_args__ = (
        Index("ix_image_owner_created_us", "owner", "created_us"),
        Index("ix_image_visibility_created_us", "visibility", "created_us"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    status: Mapped[str] = mapped_column(String(30))
    visibility: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    disk_format: Mapped[str | None] = mapped_column(String(20))
    container_format: Mapped[str | None] = mapped_column(String(20))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    virtual_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    min_disk: Mapped[int]
    min_ram: Mapped[int]
    checksum: Mapped[str | None] = mapped_column(String(32))
    os_hash_algo: Mapped[str | None] = mapped_column(String(64))
    os_hash_value: Mapped[str | None] = mapped_column(String(128))
    protected: Mapped[bool]
    os_hidden: Mapped[bool]
    importing_to: Mapped[str | None] = mapped_column(Text)
    failed_stores: Mapped[str | None] = mapped_column(Text)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)


class ImageProperty(Base):
    """What else is said of an image."""

    __tablename__ = "image_property"

    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class ImageTag(Base):
    """A tag."""

    __tablename__ = "image_tag"

    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)


class ImageMember(Base):
    """A project with which an image is shared. status: pending, accepted or rejected."""

    __tablename__ = "image_member"

    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True, index=True)
    status: Mapped[str] = mapped_column(String(20))
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)


class ImageCopy(Base):
    """An image's bytes in one store: `parts` are the objects' names and sizes in bytes, in order."""

    __tablename__ = "image_copy"

    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    store: Mapped[str] = mapped_column(String(STORE_CHARS), primary_key=True)
    container: Mapped[str] = mapped_column(String(NAME_CHARS))
    prefix: Mapped[str] = mapped_column(String(NAME_CHARS))
    parts: Mapped[list[Any]]
    created_us: Mapped[int] = mapped_column(BigInteger)


class Effort(Base):
    """Objects below a prefix that no copy names: being written by a host, or to be deleted (no host).

    image_id: whose they are; where they are held, they stay until they are let go.
    """

    __tablename__ = "image_effort"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    container: Mapped[str] = mapped_column(String(NAME_CHARS))
    prefix: Mapped[str] = mapped_column(String(NAME_CHARS))
    host: Mapped[str | None] = mapped_column(String(NAME_CHARS), index=True)
    due_us: Mapped[int] = mapped_column(BigInteger)


class Hold(Base):
    """Somebody needs an image's bytes, whatever becomes of the image. pieces: where they are."""

    __tablename__ = "image_hold"

    holder: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True, index=True)
    pieces: Mapped[list[Any]]


class Staged(Base):
    """Bytes that wait for their import."""

    __tablename__ = "image_staged"

    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    container: Mapped[str] = mapped_column(String(NAME_CHARS))
    prefix: Mapped[str] = mapped_column(String(NAME_CHARS))
    parts: Mapped[list[Any]]


class Task(Base):
    """An import. host: whose process does it. status: pending, processing, success or failure."""

    __tablename__ = "image_task"
    __table_args__ = (
        Index("ix_image_task_host_status", "host", "status"),
        Index("ix_image_task_owner_created_us", "owner", "created_us"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    type: Mapped[str] = mapped_column(String(30))
    status: Mapped[str] = mapped_column(String(30))
    owner: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    image_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    user_id: Mapped[str] = mapped_column(String(ID_CHARS))
    request_id: Mapped[str] = mapped_column(String(ID_CHARS))
    host: Mapped[str] = mapped_column(String(NAME_CHARS))
    input: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    message: Mapped[str] = mapped_column(Text)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int | None] = mapped_column(BigInteger)
