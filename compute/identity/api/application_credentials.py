"""/v3/users/{user_id}/application_credentials and access_rules."""

import base64
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.call import Call
from compute.identity.errors import MALFORMED, duplicate, not_found
from compute.identity.instants import parse, text_of
from compute.identity.models.access import (
    AccessRule,
    ApplicationCredential,
    ApplicationCredentialRole,
    ApplicationCredentialRule,
)
from compute.identity.models.projects import Project
from compute.identity.models.roles import Role
from compute.identity.passwords import hashed, quick_hash
from compute.identity.tokens.standing import access_rules
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import NAME, STRING, TEXT_OR_NULL, Schema, object_of

SECRET_BYTES = 64

_RULE = object_of(
    {
        "id": STRING,
        "path": {"type": "string", "maxLength": 1024, "pattern": r"^/.*"},
        "method": {"type": "string", "pattern": r"^(POST|GET|HEAD|PATCH|PUT|DELETE)$"},
        "service": NAME,
    },
    more=False,
)
_SCHEMA = Schema(
    object_of(
        {
            "name": NAME,
            "description": TEXT_OR_NULL,
            "secret": {"type": ["string", "null"], "minLength": 1},
            "expires_at": TEXT_OR_NULL,
            "roles": {"type": "array", "items": object_of({"id": STRING, "name": STRING}, least=1)},
            "unrestricted": {"type": ["boolean", "null"]},
            "access_rules": {"type": "array", "items": _RULE},
        },
        ["name"],
    )
)


def _view(call: Call, session: Session, row: ApplicationCredential) -> dict[str, Any]:
    table = ApplicationCredentialRole
    query = select(Role).join(table, table.role_id == Role.id)
    roles = session.scalars(query.where(table.application_credential_id == row.id).order_by(Role.name))
    itself = f"{call.v3}/users/{row.user_id}/application_credentials/{row.id}"
    view = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "expires_at": _without_zone(row.expires_at_us),
        "unrestricted": row.unrestricted,
        "system": None,
        "roles": [{"id": r.id, "name": r.name, "domain_id": r.domain_id} for r in roles],
        "links": {"self": itself},
    }
    if rules := access_rules(session, row.id):
        view["access_rules"] = rules
    return view


def _without_zone(us: int | None) -> str | None:
    """Upstream shows these instants without their Z."""
    text = text_of(us)
    return text.removesuffix("Z") if text else None


def check_delegates(call: Call) -> None:
    """Restricted application credentials make no further ones. Raises Forbidden."""
    if not call.actor.delegates:
        raise Forbidden(
            "You are not authorized to perform the requested action: Using method"
            " 'application_credential' is not allowed for managing additional application credentials."
        )


def _roles(session: Session, call: Call, wanted: Any, project_id: str) -> list[str]:
    """The roles' ids: those asked for, which the user must have, or all of the token's."""
    project = session.get(Project, project_id)
    assert project is not None
    owned = effective.on_project(session, call.actor.user_id, project)
    names = set(call.actor.credentials["roles"])
    own = {role.id: role for role in owned if role.name in names}
    if not wanted:
        return list(own)
    ids = []
    for named in wanted:
        found = [
            r
            for r in own.values()
            if named.get("id", r.id) == r.id and named.get("name", r.name) == r.name
        ]
        if not found:
            raise BadRequest(
                "Invalid application credential: Could not find role assignment with role:"
                f" {named.get('id') or named.get('name')}, user or group: {call.actor.user_id},"
                f" project, domain, or system: {project_id}."
            )
        ids.append(found[0].id)
    return list(dict.fromkeys(ids))


def create(call: Call) -> Answer:
    """POST: the secret is shown this once."""
    fields = call.body("application_credential", _SCHEMA)
    user_id, identity = call.path["user_id"], call.identity
    call.enforce("create_application_credential")
    check_delegates(call)
    project_id = call.actor.credentials["project_id"]
    if not project_id:
        raise BadRequest("Application credentials are for a project: use a project-scoped token.")
    secret = fields.get("secret")
    kept = hashed(secret) if secret else ""
    if not secret:
        secret = base64.urlsafe_b64encode(identity.randomness.token(SECRET_BYTES)).decode().rstrip("=")
        kept = quick_hash(secret)
    expires_us = parse(fields["expires_at"]) if fields.get("expires_at") else None
    if expires_us is not None and expires_us <= identity.now_us():
        raise BadRequest(f"The 'expires_at' must not be before now. {MALFORMED}")
    with call.write() as session:
        _check_name_free(session, user_id, fields["name"])
        row = ApplicationCredential(
            id=identity.new_id(),
            name=fields["name"],
            user_id=user_id,
            project_id=project_id,
            secret_hash=kept,
            description=fields.get("description"),
            expires_at_us=expires_us,
            unrestricted=bool(fields.get("unrestricted")),
        )
        session.add(row)
        session.flush()
        for role_id in _roles(session, call, fields.get("roles"), project_id):
            session.add(ApplicationCredentialRole(application_credential_id=row.id, role_id=role_id))
        for rule in fields.get("access_rules") or []:
            rule_id = _rule_id(session, call, user_id, rule)
            session.merge(
                ApplicationCredentialRule(application_credential_id=row.id, access_rule_id=rule_id)
            )
        session.flush()
        body = _view(call, session, row)
    return json_answer({"application_credential": {**body, "secret": secret}}, 201)


def _check_name_free(session: Session, user_id: str, name: str) -> None:
    table = ApplicationCredential
    if session.scalars(select(table.id).where(table.user_id == user_id, table.name == name)).first():
        raise duplicate("application_credential", f"Duplicate entry found with name {name}")


def _rule_id(session: Session, call: Call, user_id: str, rule: dict[str, Any]) -> str:
    """The access rule that is meant, made if it is new."""
    if "id" in rule and len(rule) == 1:
        row = session.get(AccessRule, rule["id"])
        if row is None or row.user_id != user_id:
            raise not_found("access rule", rule["id"])
        return row.id
    parts = {name: rule.get(name, "") for name in ("service", "path", "method")}
    query = select(AccessRule).where(AccessRule.user_id == user_id)
    for name, value in parts.items():
        query = query.where(getattr(AccessRule, name) == value)
    row = session.scalars(query).first()
    if row is None:
        row = AccessRule(id=call.identity.new_id(), user_id=user_id, **parts)
        session.add(row)
        session.flush()
    return row.id


def list_all(call: Call) -> Answer:
    """GET of a user's."""
    call.enforce("list_application_credentials")
    table = ApplicationCredential
    query = select(table).where(table.user_id == call.path["user_id"]).order_by(table.id)
    if (name := call.query("name")) is not None:
        query = query.where(table.name == name)
    with call.read() as session:
        rows = [_view(call, session, row) for row in session.scalars(query)]
        return call.listed("application_credentials", rows)


def _row(call: Call, session: Session) -> ApplicationCredential:
    ident = call.path["application_credential_id"]
    row: ApplicationCredential | None = session.get(ApplicationCredential, ident)
    if row is None or row.user_id != call.path["user_id"]:
        raise not_found("Application Credential", ident)
    return row


def show(call: Call) -> Answer:
    """GET of one."""
    call.enforce("get_application_credential")
    with call.read() as session:
        return json_answer({"application_credential": _view(call, session, _row(call, session))})


def delete(call: Call) -> Answer:
    """DELETE: its tokens are worth nothing at once."""
    call.enforce("delete_application_credential")
    check_delegates(call)
    with call.write() as session:
        session.delete(_row(call, session))
    return NO_CONTENT


# -- access rules --


def _rule_view(call: Call, row: AccessRule) -> dict[str, Any]:
    itself = f"{call.v3}/users/{row.user_id}/access_rules/{row.id}"
    view = {name: getattr(row, name) for name in ("id", "service", "path", "method")}
    return {**view, "links": {"self": itself}}


def list_rules(call: Call) -> Answer:
    """GET of a user's."""
    user_id = call.path["user_id"]
    call.enforce("list_access_rules", user={"id": user_id})
    with call.read() as session:
        query = select(AccessRule).where(AccessRule.user_id == user_id).order_by(AccessRule.id)
        return call.listed("access_rules", [_rule_view(call, row) for row in session.scalars(query)])


def _rule(call: Call, session: Session) -> AccessRule:
    row: AccessRule | None = session.get(AccessRule, call.path["access_rule_id"])
    if row is None or row.user_id != call.path["user_id"]:
        raise not_found("Access Rule", call.path["access_rule_id"])
    return row


def show_rule(call: Call) -> Answer:
    """GET of one."""
    call.enforce("get_access_rule", user={"id": call.path["user_id"]})
    with call.read() as session:
        return json_answer({"access_rule": _rule_view(call, _rule(call, session))})


def delete_rule(call: Call) -> Answer:
    """DELETE: one in use stays."""
    call.enforce("delete_access_rule", user={"id": call.path["user_id"]})
    with call.write() as session:
        row = _rule(call, session)
        used = select(ApplicationCredentialRule.access_rule_id)
        if session.scalars(used.where(ApplicationCredentialRule.access_rule_id == row.id)).first():
            raise Forbidden(
                "You are not authorized to perform the requested action: access rule"
                f" {row.id} is in use by an application credential."
            )
        session.delete(row)
    return NO_CONTENT


_ROOT = "/v3/users/{user_id}"
_ONE = f"{_ROOT}/application_credentials/{{application_credential_id}}"
ROUTES = [
    ("POST", f"{_ROOT}/application_credentials", create),
    ("GET", f"{_ROOT}/application_credentials", list_all),
    ("GET", _ONE, show),
    ("DELETE", _ONE, delete),
    ("GET", f"{_ROOT}/access_rules", list_rules),
    ("GET", f"{_ROOT}/access_rules/{{access_rule_id}}", show_rule),
    ("DELETE", f"{_ROOT}/access_rules/{{access_rule_id}}", delete_rule),
]
