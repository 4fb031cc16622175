"""Users with their passwords, groups and who is in them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base, Extra


class User(Extra, Base):
    """A user. failures: wrong passwords in a row, the last at failed_at_us."""

    __tablename__ = "identity_user"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    enabled: Mapped[bool]
    default_project_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    failures: Mapped[int] = mapped_column(default=0)
    failed_at_us: Mapped[int] = mapped_column(BigInteger, default=0)


class Password(Base):
    """One of a user's passwords; the newest is the one that counts. hashed: argon2's own text.

    by_user: chosen by the user, not by an administrator, so the minimum age applies to the next.
    """

    __tablename__ = "password"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"), index=True)
    hashed: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_at_us: Mapped[int] = mapped_column(BigInteger)
    expires_at_us: Mapped[int | None] = mapped_column(BigInteger)
    by_user: Mapped[bool]


class Group(Extra, Base):
    """Users that get roles together."""

    __tablename__ = "identity_group"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(Text)


class Membership(Base):
    """A user in a group."""

    __tablename__ = "membership"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("identity_user.id", ondelete="CASCADE"), primary_key=True
    )
    group_id: Mapped[str] = mapped_column(
        ForeignKey("identity_group.id", ondelete="CASCADE"), primary_key=True, index=True
    )
