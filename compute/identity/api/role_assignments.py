"""GET /v3/role_assignments: all, filtered, or what they come to (?effective)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.call import Call
from compute.identity.errors import not_found
from compute.identity.models.people import Group, Membership, User
from compute.identity.models.projects import Project
from compute.identity.models.roles import Assignment, Role
from compute.server.errors import BadRequest
from compute.server.request import Answer


class Row(NamedTuple):
    """An assignment, or what one comes to. via_group, prior_id, from_id: what it came from."""

    role_id: str
    user_id: str | None
    group_id: str | None
    project_id: str | None
    inherited: bool
    via_group: str | None = None
    prior_id: str | None = None
    from_id: str | None = None


def _all(session: Session) -> list[Row]:
    rows = session.scalars(select(Assignment).order_by(Assignment.key))
    return [Row(r.role_id, r.user_id, r.group_id, r.project_id, r.inherited) for r in rows]


def _expanded(session: Session, rows: list[Row]) -> Iterator[Row]:
    """Groups become their users, inherited roles go to the projects below, implied ones are added."""
    rules = effective.implication_rules(session)
    members: dict[str, list[str]] = {}
    for member, group in session.execute(select(Membership.user_id, Membership.group_id)):
        members.setdefault(group, []).append(member)
    special = set(session.scalars(select(Role.id).where(Role.domain_id.is_not(None))))
    for row in rows:
        targets: list[tuple[str | None, str | None]] = [(row.project_id, None)]
        if row.inherited and row.project_id:
            targets = [(p, row.project_id) for p in sorted(effective.below(session, [row.project_id]))]
        users = (
            [(row.user_id, None)]
            if row.user_id
            else [(u, row.group_id) for u in members.get(row.group_id or "", [])]
        )
        for role_id in sorted(effective.implied_by([row.role_id], rules) - special):
            prior = row.role_id if role_id != row.role_id else None
            for target, from_id in targets:
                for user_id, group_id in users:
                    yield Row(role_id, user_id, None, target, False, group_id, prior, from_id)


def list_assignments(call: Call) -> Answer:
    """Which filters fit together is upstream's."""
    tree = call.flag("include_subtree")
    target_id = call.query("scope.project.id")
    with call.read() as session:
        _check(call)
        _enforce(call, session, tree, target_id)
        rows = _all(session)
        if call.flag("effective"):
            rows = list(dict.fromkeys(_expanded(session, rows)))
        ids = {target_id} | (effective.below(session, [target_id]) if tree and target_id else set())
        found = [row for row in rows if _fits(call, session, row, ids)]
        names = _Names(session) if call.flag("include_names") else None
        return call.listed("role_assignments", [_view(call, session, row, names) for row in found])


def _enforce(call: Call, session: Session, tree: bool, target_id: str | None) -> None:
    project = session.get(Project, target_id) if target_id else None
    if tree:
        if target_id is None:
            raise BadRequest("scope.project.id must be specified if include_subtree is also specified")
        if project is None:
            raise not_found("project", target_id)
        call.enforce("list_role_assignments_for_tree", domain_id=project.domain_id)
        return
    own = call.actor.credentials["domain_id"]
    if not call.allowed("list_role_assignments", domain_id=None):
        domain_id = project.domain_id if project else call.query("scope.domain.id") or own
        call.enforce("list_role_assignments", domain_id=domain_id)


def _check(call: Call) -> None:
    scopes = [call.query(f"scope.{kind}") for kind in ("project.id", "domain.id", "system")]
    if sum(scope is not None for scope in scopes) > 1:
        raise BadRequest("Specify a domain, a project or the system, not more than one of them")
    if call.query("user.id") and call.query("group.id"):
        raise BadRequest("Specify a user or group, not both")
    if call.flag("effective") and call.query("group.id"):
        raise BadRequest("Combining effective and group filter will always result in an empty list.")


def _fits(call: Call, session: Session, row: Row, projects: set[str | None]) -> bool:
    query = call.query
    if (role := query("role.id")) and row.role_id != role:
        return False
    if (user := query("user.id")) and row.user_id != user:
        return False
    if (group := query("group.id")) and row.group_id != group:
        return False
    if query("scope.project.id") and row.project_id not in projects:
        return False
    if (domain := query("scope.domain.id")) and row.project_id != domain:
        return False
    if query("scope.system") is not None and row.project_id is not None:
        return False
    if query("scope.OS-INHERIT:inherited_to") and not (row.inherited or row.from_id):
        return False
    return call.allowed("list_role_assignments", domain_id=None) or _in_domain(call, session, row)


def _in_domain(call: Call, session: Session, row: Row) -> bool:
    """Readers of a domain see what is on it and its projects."""
    own = call.actor.credentials["domain_id"]
    project = session.get(Project, row.project_id) if row.project_id else None
    return project is not None and own in (project.id, project.domain_id)


class _Names:
    """Names beside ids (?include_names)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of(self, table: type[Any], ident: str) -> dict[str, Any]:
        """The name, and the domain with its own."""
        row = self._session.get(table, ident)
        if row is None:
            return {"id": ident}
        view: dict[str, Any] = {"id": ident, "name": row.name}
        domain = self._session.get(Project, row.domain_id) if row.domain_id else None
        if domain is not None:
            view["domain"] = {"id": domain.id, "name": domain.name}
        elif table is Role:
            view["domain_id"] = None
        return view


def _view(call: Call, session: Session, row: Row, names: _Names | None) -> dict[str, Any]:
    def ref(table: type[Any], ident: str) -> dict[str, Any]:
        return names.of(table, ident) if names else {"id": ident}

    view: dict[str, Any] = {"role": ref(Role, row.role_id)}
    who = f"users/{row.user_id}" if row.user_id else f"groups/{row.group_id}"
    if row.user_id:
        view["user"] = ref(User, row.user_id)
    elif row.group_id:
        view["group"] = ref(Group, row.group_id)
    if row.project_id is None:
        view["scope"], where = {"system": {"all": True}}, "system"
    else:
        project = session.get(Project, row.project_id)
        kind = "domain" if project is not None and project.is_domain else "project"
        view["scope"], where = {kind: ref(Project, row.project_id)}, f"{kind}s/{row.project_id}"
    end = f"{who}/roles/{row.role_id}"
    if row.inherited or row.from_id:
        view["scope"]["OS-INHERIT:inherited_to"] = "projects"
        links = {"assignment": f"{call.v3}/OS-INHERIT/{where}/{end}/inherited_to_projects"}
    else:
        links = {"assignment": f"{call.v3}/{where}/{end}"}
    if row.via_group:
        links["membership"] = f"{call.v3}/groups/{row.via_group}/users/{row.user_id}"
    if row.prior_id:
        links["prior_role"] = f"{call.v3}/roles/{row.prior_id}"
    return {**view, "links": links}


ROUTES = [("GET", "/v3/role_assignments", list_assignments)]
