"""Projects and domains: trees, names, what must be true before one is changed or removed."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.errors import duplicate, duplicate_name, not_found
from compute.identity.models.people import Group, User
from compute.identity.models.projects import Project, ProjectTag
from compute.identity.models.roles import Role
from compute.identity.settings import Settings
from compute.identity.tokens.revocations import revoke
from compute.server.errors import BadRequest, Forbidden

COLUMNS: Final = ("name", "description", "enabled", "options")
DEFAULT_DOMAIN: Final = "default"


def tags_of(session: Session, project_id: str) -> list[str]:
    """A project's tags, in order."""
    query = select(ProjectTag.name).where(ProjectTag.project_id == project_id)
    return sorted(session.scalars(query))


def set_tags(session: Session, project_id: str, tags: Sequence[str]) -> None:
    """Put these in place of those that are there."""
    session.execute(delete(ProjectTag).where(ProjectTag.project_id == project_id))
    session.add_all(ProjectTag(project_id=project_id, name=tag) for tag in dict.fromkeys(tags))


def project_view(session: Session, row: Project) -> dict[str, Any]:
    """A project as the API shows it."""
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description or "",
        "enabled": row.enabled,
        "parent_id": row.parent_id,
        "is_domain": row.is_domain,
        "tags": tags_of(session, row.id),
        "options": row.options,
    }


def domain_view(session: Session, row: Project) -> dict[str, Any]:
    """A domain as the API shows it."""
    view = project_view(session, row)
    return {
        name: value
        for name, value in view.items()
        if name not in ("domain_id", "parent_id", "is_domain")
    }


def check_name_free(session: Session, row: Project) -> None:
    """Raises Conflict. The constraint of the table guards it, too; this says it in Keystone's words."""
    query = select(Project.id).where(
        Project.name_space == row.name_space, Project.name == row.name, Project.id != row.id
    )
    with session.no_autoflush:
        if session.scalars(query).first() is None:
            return
    if row.is_domain:
        raise duplicate_name("domain", row.name)
    raise duplicate(
        "project",
        f"it is not permitted to have two projects with the same name in the same domain : {row.name}",
    )


def check_depth(session: Session, parent: Project, settings: Settings) -> None:
    """Raises Forbidden where a child of this project would be too deep."""
    depth = len(effective.ancestors(session, parent)) + 1
    if depth > settings.tree_depth_max:
        raise Forbidden(f"Max hierarchy depth reached for {parent.id} branch.")


def parent_of(session: Session, domain_id: str, parent_id: str | None) -> Project:
    """Under which project a new one goes. Raises BadRequest, NotFound."""
    domain = session.get(Project, domain_id)
    if domain is None or not domain.is_domain:
        raise not_found("domain", domain_id)
    parent = session.get(Project, parent_id or domain_id)
    if parent is None:
        raise not_found("project", parent_id or domain_id)
    if domain_id not in (parent.id, parent.domain_id):
        raise BadRequest(
            f"Invalid input for field 'domain_id': the parent {parent.id} is in another domain."
        )
    if not parent.enabled or not domain.enabled:
        raise Forbidden(
            f"cannot create a project in a branch containing a disabled project: {parent.id}"
        )
    return parent


def disabled(session: Session, row: Project, now_us: int) -> None:
    """What was issued for it is revoked for good, even when it is enabled again."""
    kind = "domain_id" if row.is_domain else "project_id"
    revoke(session, now_us, **{kind: row.id})


def check_change_of_state(session: Session, row: Project, *, enabled: bool) -> None:
    """A disabled project has no enabled one below it. Raises Forbidden."""
    if enabled:
        if any(not above.enabled for above in effective.ancestors(session, row)):
            raise Forbidden(f"Cannot enable project {row.id} since it has disabled parents")
    elif not row.is_domain:
        below = effective.below(session, [row.id])
        query = select(Project.id).where(Project.id.in_(below), Project.enabled)
        if session.scalars(query).first() is not None:
            raise Forbidden(
                f"Cannot disable project {row.id} since its subtree contains enabled projects."
            )


def remove_project(session: Session, row: Project) -> None:
    """Raises Forbidden for one that has projects below it."""
    if effective.below(session, [row.id]):
        raise Forbidden(
            f"Cannot delete the project {row.id} since it is not a leaf in the hierarchy. Use the"
            " cascade option if you want to delete a whole subtree."
        )
    session.delete(row)


def remove_domain(session: Session, row: Project) -> None:
    """With everything in it. Raises Forbidden for one that is enabled."""
    if row.enabled:
        raise Forbidden(f"Cannot delete a domain that is enabled, please disable it first: {row.id}.")
    for table in (User, Group, Role):
        session.execute(delete(table).where(table.domain_id == row.id))
    while level := _leaves(session, row.id):
        session.execute(delete(Project).where(Project.id.in_(level)))
    session.expire_all()
    session.execute(delete(Project).where(Project.id == row.id))


def _leaves(session: Session, domain_id: str) -> list[str]:
    """The projects of a domain that have none below them."""
    parents = select(Project.parent_id).where(Project.parent_id.is_not(None))
    query = select(Project.id).where(Project.domain_id == domain_id, Project.id.not_in(parents))
    return list(session.scalars(query))
