"""Projects in trees below domains, their tags and limits. A domain is a project that acts as one."""

from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base, Extra


class Project(Extra, Base):
    """A project, or a domain (is_domain, no parent).

    name_space: the domain in which the name is unique, "" among domains (NULLs would all differ).
    """

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("name_space", "name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    name_space: Mapped[str] = mapped_column(String(ID_CHARS))
    is_domain: Mapped[bool]
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("project.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("project.id"), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ProjectTag(Base):
    """One tag of a project."""

    __tablename__ = "project_tag"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)


class DomainSetting(Base):
    """One option of a domain's own configuration. value: any JSON, within a table."""

    __tablename__ = "domain_setting"

    domain_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    group: Mapped[str] = mapped_column("group_name", String(NAME_CHARS), primary_key=True)
    option: Mapped[str] = mapped_column("option_name", String(NAME_CHARS), primary_key=True)
    value: Mapped[dict[str, Any]]


class RegisteredLimit(Base):
    """The limit of a service's resource for all who have none of their own."""

    __tablename__ = "registered_limit"
    __table_args__ = (UniqueConstraint("service_id", "region_key", "resource_name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    service_id: Mapped[str] = mapped_column(ForeignKey("service.id"))
    region_id: Mapped[str | None] = mapped_column(ForeignKey("region.id"))
    region_key: Mapped[str] = mapped_column(String(NAME_CHARS))
    resource_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    default_limit: Mapped[int]
    description: Mapped[str | None] = mapped_column(Text)


class Limit(Base):
    """A project's or a domain's own limit in place of the registered one."""

    __tablename__ = "project_limit"
    __table_args__ = (UniqueConstraint("owner_id", "registered_limit_id"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    registered_limit_id: Mapped[str] = mapped_column(ForeignKey("registered_limit.id"))
    resource_limit: Mapped[int]
    description: Mapped[str | None] = mapped_column(Text)
