"""What projects may use: limits that were set. What they do use is counted, not kept."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import NAME_CHARS, Base

RESOURCE_CHARS = 300


class Quota(Base):
    """A project's own limit of a resource; -1 for none."""

    __tablename__ = "volume_quota"

    project_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    resource: Mapped[str] = mapped_column(String(RESOURCE_CHARS), primary_key=True)
    limit: Mapped[int] = mapped_column(BigInteger)


class QuotaClass(Base):
    """A limit of a class; those of `default` apply to every project without one of its own."""

    __tablename__ = "volume_quota_class"

    class_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    resource: Mapped[str] = mapped_column(String(RESOURCE_CHARS), primary_key=True)
    limit: Mapped[int] = mapped_column(BigInteger)
