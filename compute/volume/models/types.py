"""Volume types with what belongs to them: who may use a private one, encryption, QoS, defaults."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base

SPEC_CHARS = 255


class QosSpecs(Base):
    """What volumes of its types may do. consumer: front-end, back-end or both; who keeps to it."""

    __tablename__ = "volume_qos_specs"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), unique=True)
    consumer: Mapped[str] = mapped_column(String(NAME_CHARS))
    specs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class VolumeType(Base):
    """A kind of volumes. extra_specs: what a backend must be like."""

    __tablename__ = "volume_type"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), unique=True)
    description: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    is_public: Mapped[bool] = mapped_column(default=True)
    extra_specs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    qos_specs_id: Mapped[str | None] = mapped_column(ForeignKey("volume_qos_specs.id"), index=True)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class TypeAccess(Base):
    """A project that may use a private type."""

    __tablename__ = "volume_type_access"

    type_id: Mapped[str] = mapped_column(
        ForeignKey("volume_type.id", ondelete="CASCADE"), primary_key=True
    )
    project_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)


class TypeEncryption(Base):
    """How volumes of a type are to be encrypted."""

    __tablename__ = "volume_type_encryption"

    type_id: Mapped[str] = mapped_column(
        ForeignKey("volume_type.id", ondelete="CASCADE"), primary_key=True
    )
    encryption_id: Mapped[str] = mapped_column(String(ID_CHARS), unique=True)
    provider: Mapped[str] = mapped_column(String(NAME_CHARS))
    control_location: Mapped[str] = mapped_column(String(NAME_CHARS))
    cipher: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    key_size: Mapped[int | None] = mapped_column(BigInteger)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int | None] = mapped_column(BigInteger)


class DefaultType(Base):
    """The type that a project's volumes get where none is asked for."""

    __tablename__ = "volume_default_type"

    project_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    type_id: Mapped[str] = mapped_column(ForeignKey("volume_type.id"), index=True)
