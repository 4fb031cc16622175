"""Which roles someone really has: their own and their groups', inherited ones, and those implied.

Pure decisions over the few rows that the queries at the end fetch.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from compute.identity.models.people import Membership
from compute.identity.models.projects import Project
from compute.identity.models.roles import Assignment, Implication, Role


class RoleRef(NamedTuple):
    """A role as tokens name it."""

    id: str
    name: str
    domain_id: str | None = None


def implied_by(given: Iterable[str], rules: Mapping[str, Collection[str]]) -> set[str]:
    """The roles (ids) with all that they imply, however far. rules: implied ids by prior id."""
    found: set[str] = set()
    waiting = list(given)
    while waiting:
        role = waiting.pop()
        if role not in found:
            found.add(role)
            waiting.extend(rules.get(role, ()))
    return found


def implication_rules(session: Session) -> dict[str, set[str]]:
    """All implications: implied ids by prior id."""
    rules: dict[str, set[str]] = {}
    for row in session.scalars(select(Implication)):
        rules.setdefault(row.prior_id, set()).add(row.implied_id)
    return rules


def ancestors(session: Session, project: Project) -> list[Project]:
    """The project's parent, its parent, … and its domain last. A domain has none."""
    found: list[Project] = []
    at: Project | None = project
    while at is not None and at.parent_id is not None:
        at = session.get(Project, at.parent_id)
        if at is not None:
            found.append(at)
    return found


def _whose(user_id: str) -> Select[str]:
    groups = select(Membership.group_id).where(Membership.user_id == user_id)
    return select(Assignment.role_id).where(
        or_(Assignment.user_id == user_id, Assignment.group_id.in_(groups))
    )


def _expanded(session: Session, given: Iterable[str]) -> list[RoleRef]:
    """The roles of everyone among these and what they imply, by name."""
    ids = set(given)
    if not ids:
        return []
    ids = implied_by(ids, implication_rules(session))
    rows = session.scalars(select(Role).where(Role.id.in_(ids), Role.domain_id.is_(None)))
    return sorted((RoleRef(row.id, row.name) for row in rows), key=lambda role: role.name)


def on_project(session: Session, user_id: str, project: Project) -> list[RoleRef]:
    """The user's roles on a project, or on a domain."""
    above = [other.id for other in ancestors(session, project)]
    where = and_(Assignment.project_id == project.id, Assignment.inherited.is_(False))
    if above:
        inherited = and_(Assignment.project_id.in_(above), Assignment.inherited.is_(True))
        where = or_(where, inherited)
    return _expanded(session, session.scalars(_whose(user_id).where(where)))


def on_system(session: Session, user_id: str) -> list[RoleRef]:
    """The user's roles on the system."""
    return _expanded(session, session.scalars(_whose(user_id).where(Assignment.project_id.is_(None))))


def reachable(session: Session, user_id: str) -> tuple[list[Project], list[Project]]:
    """The enabled projects and the enabled domains on which the user has a role."""
    groups = select(Membership.group_id).where(Membership.user_id == user_id)
    rows = session.execute(
        select(Assignment.project_id, Assignment.inherited).where(
            or_(Assignment.user_id == user_id, Assignment.group_id.in_(groups)),
            Assignment.project_id.is_not(None),
        )
    ).all()
    direct = {target for target, inherited in rows if not inherited}
    roots = {target for target, inherited in rows if inherited and target}
    ids = direct | below(session, roots)
    found = session.scalars(select(Project).where(Project.id.in_(ids), Project.enabled)).all()
    domains = {row.domain_id for row in found if row.domain_id}
    live = set(session.scalars(select(Project.id).where(Project.id.in_(domains), Project.enabled)))
    projects = [row for row in found if not row.is_domain and row.domain_id in live]
    return projects, [row for row in found if row.is_domain]


def below(session: Session, roots: Collection[str]) -> set[str]:
    """The ids of all projects below these, themselves not among them."""
    found: set[str] = set()
    level = set(roots)
    while level:
        children = set(session.scalars(select(Project.id).where(Project.parent_id.in_(level))))
        level = children - found
        found |= level
    return found
