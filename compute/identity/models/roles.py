"""Roles, which of them imply which, and who has them where."""

from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base, Extra


class Role(Extra, Base):
    """A role, of everyone or (domain_id) of one domain. name_space: the domain's id or ""."""

    __tablename__ = "role"
    __table_args__ = (UniqueConstraint("name_space", "name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    name_space: Mapped[str] = mapped_column(String(ID_CHARS))
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("project.id"))
    description: Mapped[str | None] = mapped_column(Text)
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Implication(Base):
    """Who has the prior role has the implied one, too."""

    __tablename__ = "role_implication"

    prior_id: Mapped[str] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)
    implied_id: Mapped[str] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)


class Assignment(Base):
    """A role for a user or a group on a project, a domain or (project_id null) the system.

    key: all of it in one text, so that the same assignment can't be there twice. Nulls would not
    be equal. inherited: for the projects below, not for the project or domain itself.
    """

    __tablename__ = "assignment"

    key: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str | None] = mapped_column(
        ForeignKey("identity_user.id", ondelete="CASCADE"), index=True
    )
    group_id: Mapped[str | None] = mapped_column(
        ForeignKey("identity_group.id", ondelete="CASCADE"), index=True
    )
    project_id: Mapped[str | None] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), index=True
    )
    inherited: Mapped[bool]
