"""Giving and taking roles: on projects, domains and the system, to users and groups, inherited too."""

import functools
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.api.groups import group_view
from compute.identity.api.roles import role_view
from compute.identity.assignments import Grant, assign, taken
from compute.identity.call import Call
from compute.identity.domains import project_view
from compute.identity.errors import not_found
from compute.identity.models.people import Group, User
from compute.identity.models.projects import Project
from compute.identity.models.roles import Assignment, Role
from compute.identity.resource import link
from compute.identity.users import user_view
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer

_RULE = {"put": "create_grant", "check": "check_grant", "list": "list_grants", "delete": "revoke_grant"}


def _facts(call: Call, session: Session) -> dict[str, Any]:
    """What rules may ask of everything that the path names."""
    path, facts = call.path, dict[str, Any]()
    if user := session.get(User, path.get("user_id")) if "user_id" in path else None:
        facts["user"] = user_view(session, user)
    if group := session.get(Group, path.get("group_id")) if "group_id" in path else None:
        facts["group"] = group_view(session, group)
    if role := session.get(Role, path.get("role_id")) if "role_id" in path else None:
        facts["role"] = role_view(session, role)
    if project := session.get(Project, path.get("project_id")) if "project_id" in path else None:
        facts["project"] = project_view(session, project)
    if domain := session.get(Project, path.get("domain_id")) if "domain_id" in path else None:
        facts["domain"] = {"id": domain.id}
    return facts


def _enforce(call: Call, session: Session, verb: str) -> None:
    rule = _RULE[verb]
    if "project_id" not in call.path and "domain_id" not in call.path:
        noun = "grants" if verb == "list" else "grant"
        who = "user" if "user_id" in call.path else "group"
        rule = f"{rule.split('_')[0]}_system_{noun}_for_{who}"
    call.enforce(rule, **_facts(call, session))


def _grant(call: Call, session: Session, *, inherited: bool, removing: bool = False) -> Grant:
    """What the path says. Raises NotFound; what is removed may have lost its user or group."""
    path = call.path
    tables: tuple[tuple[str, Any], ...] = (
        ("project", Project),
        ("domain", Project),
        ("user", User),
        ("group", Group),
        ("role", Role),
    )
    for kind, table in tables:
        ident = path.get(f"{kind}_id")
        gone = ident is not None and session.get(table, ident) is None
        if gone and not (removing and kind in ("user", "group")):
            raise not_found(kind, ident or "")
    target = path.get("project_id") or path.get("domain_id")
    return Grant(path.get("user_id"), path.get("group_id"), target, inherited)


def _check_role(session: Session, grant: Grant, role_id: str) -> None:
    """A domain's role is only for what is in that domain. Raises Forbidden, BadRequest."""
    role = session.get(Role, role_id)
    if role is None or not role.domain_id:
        return
    if grant.project_id is None:
        raise BadRequest("Role assignments on the system take roles without a domain only.")
    target = session.get(Project, grant.project_id)
    if target is not None and role.domain_id not in (target.id, target.domain_id):
        raise Forbidden(
            f"You are not authorized to perform the requested action: assign the role {role_id}"
            " of another domain."
        )


def put(call: Call, *, inherited: bool = False) -> Answer:
    """PUT: a second time changes nothing."""
    with call.write() as session:
        _enforce(call, session, "put")
        grant = _grant(call, session, inherited=inherited)
        _check_role(session, grant, call.path["role_id"])
        assign(session, grant, call.path["role_id"])
    return NO_CONTENT


def check(call: Call, *, inherited: bool = False) -> Answer:
    """GET or HEAD of one: 204 or 404."""
    with call.read() as session:
        _enforce(call, session, "check")
        grant = _grant(call, session, inherited=inherited)
        if session.get(Assignment, grant.key(call.path["role_id"])) is None:
            raise _missing(call)
    return NO_CONTENT


def delete(call: Call, *, inherited: bool = False) -> Answer:
    """DELETE: tokens lose the role at once, as their roles are looked up when they are used."""
    with call.write() as session:
        _enforce(call, session, "delete")
        grant = _grant(call, session, inherited=inherited, removing=True)
        if not taken(session, grant, call.path["role_id"]):
            raise _missing(call)
    return NO_CONTENT


def _missing(call: Call) -> NotFound:
    path = call.path
    who = path.get("user_id") or path.get("group_id")
    where = path.get("project_id") or path.get("domain_id") or "system"
    return NotFound(
        f"Could not find role assignment with role: {path['role_id']}, user or group: {who}, project,"
        f" domain, or system: {where}."
    )


def list_roles(call: Call, *, inherited: bool = False) -> Answer:
    """GET of all roles that are given in this way."""
    with call.read() as session:
        _enforce(call, session, "list")
        grant = _grant(call, session, inherited=inherited)
        ids = [row.role_id for row in session.scalars(grant.query())]
        roles = session.scalars(select(Role).where(Role.id.in_(ids)).order_by(Role.id))
        views = [{**role_view(session, r), "links": link(call, "roles", r.id)} for r in roles]
        return call.listed("roles", views)


def _routes() -> list[tuple[str, str, Callable[[Call], Answer]]]:
    routes: list[tuple[str, str, Callable[[Call], Answer]]] = []
    targets = [("/v3/", "projects/{project_id}"), ("/v3/", "domains/{domain_id}"), ("/v3/", "system")]
    for root, target in targets:
        for who in ("users/{user_id}", "groups/{group_id}"):
            base = f"{root}{target}/{who}/roles"
            routes += [
                ("GET", base, list_roles),
                ("PUT", f"{base}/{{role_id}}", put),
                ("GET", f"{base}/{{role_id}}", check),
                ("DELETE", f"{base}/{{role_id}}", delete),
            ]
            if target == "system":
                continue
            base, end = f"/v3/OS-INHERIT/{target}/{who}/roles", "inherited_to_projects"
            below = functools.partial(functools.partial, inherited=True)
            routes += [
                ("GET", f"{base}/{end}", below(list_roles)),
                ("PUT", f"{base}/{{role_id}}/{end}", below(put)),
                ("GET", f"{base}/{{role_id}}/{end}", below(check)),
                ("DELETE", f"{base}/{{role_id}}/{end}", below(delete)),
            ]
    return routes


ROUTES = _routes()
