"""Regions, services, endpoints, which projects see them, and the policies tied to them."""

from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base, Extra


class Region(Extra, Base):
    """A region; its id is chosen by who creates it."""

    __tablename__ = "region"

    id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    description: Mapped[str] = mapped_column(Text, default="")
    parent_region_id: Mapped[str | None] = mapped_column(ForeignKey("region.id"))


class Service(Extra, Base):
    """A service of the catalog."""

    __tablename__ = "service"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    type: Mapped[str] = mapped_column(String(NAME_CHARS))
    enabled: Mapped[bool]


class Endpoint(Extra, Base):
    """Where a service is reached: one URL, interface and region."""

    __tablename__ = "endpoint"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    interface: Mapped[str] = mapped_column(String(8))
    service_id: Mapped[str] = mapped_column(ForeignKey("service.id", ondelete="CASCADE"))
    region_id: Mapped[str | None] = mapped_column(ForeignKey("region.id"))
    url: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool]


class EndpointGroup(Base):
    """Endpoints that fit all filters (service_id, region_id, interface)."""

    __tablename__ = "endpoint_group"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(Text)
    filters: Mapped[dict[str, Any]]


class ProjectEndpoint(Base):
    """An endpoint that a project sees."""

    __tablename__ = "project_endpoint"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    endpoint_id: Mapped[str] = mapped_column(
        ForeignKey("endpoint.id", ondelete="CASCADE"), primary_key=True
    )


class ProjectEndpointGroup(Base):
    """An endpoint group that a project sees."""

    __tablename__ = "project_endpoint_group"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True
    )
    endpoint_group_id: Mapped[str] = mapped_column(
        ForeignKey("endpoint_group.id", ondelete="CASCADE"), primary_key=True
    )


class Policy(Extra, Base):
    """A policy document that is kept for others; nothing here follows it."""

    __tablename__ = "policy"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    type: Mapped[str] = mapped_column(String(NAME_CHARS))
    blob: Mapped[dict[str, Any]]


class PolicyAssociation(Base):
    """The policy of an endpoint, a service, or a service in a region. target: which, in one text."""

    __tablename__ = "policy_association"
    __table_args__ = (UniqueConstraint("target"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    target: Mapped[str] = mapped_column(Text)
    policy_id: Mapped[str] = mapped_column(ForeignKey("policy.id", ondelete="CASCADE"))
    endpoint_id: Mapped[str | None] = mapped_column(ForeignKey("endpoint.id", ondelete="CASCADE"))
    service_id: Mapped[str | None] = mapped_column(ForeignKey("service.id", ondelete="CASCADE"))
    region_id: Mapped[str | None] = mapped_column(ForeignKey("region.id", ondelete="CASCADE"))
