"""Finding users, projects and domains as requests name them: by id, or by name and domain."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.errors import MALFORMED
from compute.identity.models.people import Password, User
from compute.identity.models.projects import Project
from compute.server.errors import BadRequest


def expecting(attribute: str, target: str) -> BadRequest:
    """Something is missing in the body."""
    return BadRequest(f"Expecting to find {attribute} in {target}. {MALFORMED}")


def domain_named(session: Session, named: Mapping[str, Any]) -> Project | None:
    """A domain by id or name; None if there is none."""
    if named.get("id"):
        found = session.get(Project, named["id"])
        return found if found is not None and found.is_domain else None
    if not named.get("name"):
        raise expecting("id or name", "domain")
    query = select(Project).where(Project.is_domain, Project.name == named["name"])
    return session.scalars(query).first()


def user_named(session: Session, named: Mapping[str, Any]) -> User | None:
    """A user by id, or by name and domain; None if there is none. Raises BadRequest."""
    if named.get("id"):
        return session.get(User, named["id"])
    if not named.get("name"):
        raise expecting("id or name", "user")
    if not named.get("domain"):
        raise expecting("domain", "user")
    domain = domain_named(session, named["domain"])
    if domain is None:
        return None
    query = select(User).where(User.domain_id == domain.id, User.name == named["name"])
    return session.scalars(query).first()


def project_named(session: Session, named: Mapping[str, Any]) -> Project | None:
    """A project by id, or by name and domain; None if there is none. Raises BadRequest."""
    if named.get("id"):
        return session.get(Project, named["id"])
    if not named.get("name"):
        raise expecting("id or name", "project")
    if not named.get("domain"):
        raise expecting("domain", "project")
    domain = domain_named(session, named["domain"])
    if domain is None:
        return None
    query = select(Project).where(Project.name_space == domain.id, Project.name == named["name"])
    return session.scalars(query).first()


def present_password(session: Session, user_id: str) -> Password | None:
    """The password that counts."""
    query = select(Password).where(Password.user_id == user_id).order_by(Password.number.desc())
    return session.scalars(query.limit(1)).first()
