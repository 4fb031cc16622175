"""/v3/OS-TRUST/trusts."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.api.application_credentials import check_delegates
from compute.identity.call import Call
from compute.identity.errors import MALFORMED, not_found
from compute.identity.instants import parse, text_of
from compute.identity.models.access import Trust, TrustRole
from compute.identity.models.people import User
from compute.identity.models.projects import Project
from compute.identity.models.roles import Role
from compute.identity.resource import link, store
from compute.identity.tokens.revocations import revoke
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import ID, ID_OR_NULL, STRING, TEXT_OR_NULL, Schema, object_of

_SCHEMA = Schema(
    object_of(
        {
            "trustor_user_id": ID,
            "trustee_user_id": ID,
            "impersonation": {"type": "boolean"},
            "project_id": ID_OR_NULL,
            "remaining_uses": {"type": ["integer", "null"], "minimum": 1},
            "expires_at": TEXT_OR_NULL,
            "allow_redelegation": {"type": ["boolean", "null"]},
            "redelegation_count": {"type": ["integer", "null"], "minimum": 0},
            "roles": {"type": "array", "items": object_of({"id": STRING, "name": STRING}, least=1)},
        },
        ["trustee_user_id", "trustor_user_id", "impersonation"],
    )
)
_OWN = (
    "trustor_user_id",
    "trustee_user_id",
    "impersonation",
    "project_id",
    "remaining_uses",
    "expires_at",
    "allow_redelegation",
    "redelegation_count",
    "roles",
    "redelegated_trust_id",
)


def _view(call: Call, row: Trust) -> dict[str, Any]:
    return {
        **row.extra,
        "id": row.id,
        "trustor_user_id": row.trustor_id,
        "trustee_user_id": row.trustee_id,
        "project_id": row.project_id,
        "impersonation": row.impersonation,
        "expires_at": text_of(row.expires_at_us),
        "deleted_at": None,
        "remaining_uses": row.remaining_uses,
        "redelegated_trust_id": row.redelegated_trust_id,
        "redelegation_count": row.redelegation_count,
        "links": link(call, "OS-TRUST/trusts", row.id),
    }


def _roles(session: Session, trust_id: str) -> list[Role]:
    query = select(Role).join(TrustRole, TrustRole.role_id == Role.id)
    return list(session.scalars(query.where(TrustRole.trust_id == trust_id).order_by(Role.id)))


def _role_view(call: Call, row: Role) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "options": row.options,
        "links": link(call, "roles", row.id),
    }


def _full(call: Call, session: Session, row: Trust) -> dict[str, Any]:
    roles = [_role_view(call, role) for role in _roles(session, row.id)]
    itself = f"{call.v3}/OS-TRUST/trusts/{row.id}/roles"
    links = {"self": itself, "next": None, "previous": None}
    return {**_view(call, row), "roles": roles, "roles_links": links}


def create(call: Call) -> Answer:
    """POST: by the trustor alone."""
    fields = call.body("trust", _SCHEMA)
    call.enforce("create_trust", trust=fields)
    check_delegates(call)
    if not fields.get("roles"):
        raise BadRequest(f"At least one role should be specified. {MALFORMED}")
    if not fields.get("project_id"):
        raise BadRequest(f"Expecting to find project_id in trust: roles need a project. {MALFORMED}")
    now_us = call.identity.now_us()
    expires_us = parse(fields["expires_at"]) if fields.get("expires_at") else None
    if expires_us is not None and expires_us <= now_us:
        raise BadRequest(f"The 'expires_at' must not be before now. {MALFORMED}")
    with call.write() as session:
        row = Trust(
            id=call.identity.new_id(),
            trustor_id=fields["trustor_user_id"],
            trustee_id=fields["trustee_user_id"],
            project_id=fields["project_id"],
            impersonation=fields["impersonation"],
            expires_at_us=expires_us,
            remaining_uses=fields.get("remaining_uses"),
            extra={},
        )
        parent = _redelegated(call, session, row, fields)
        store(row, {k: v for k, v in fields.items() if k not in _OWN}, ())
        role_ids = _chosen(session, row, fields["roles"], parent)
        session.add(row)
        session.flush()
        session.add_all(TrustRole(trust_id=row.id, role_id=role_id) for role_id in role_ids)
        session.flush()
        body = _full(call, session, row)
    return json_answer({"trust": body}, 201)


def _redelegated(call: Call, session: Session, row: Trust, fields: dict[str, Any]) -> Trust | None:
    """How often the new trust may be passed on; the trust that is passed on by it, or None."""
    limit = call.identity.settings.trust_redelegation_max
    wanted = fields.get("redelegation_count")
    row.allow_redelegation = bool(fields.get("allow_redelegation"))
    trust_id = call.actor.credentials["trust_id"]
    if trust_id is None:
        if wanted is not None and wanted > limit:
            raise Forbidden(
                f"Requested redelegation depth of {wanted} is greater than allowed {limit}."
            )
        count = limit if wanted is None else wanted
        row.redelegation_count = count if row.allow_redelegation else 0
        if session.get(User, row.trustee_id) is None:
            raise not_found("user", row.trustee_id)
        if row.remaining_uses is not None and row.allow_redelegation:
            raise BadRequest("remaining_uses must not be set if redelegation is allowed")
        return None
    parent = session.get_one(Trust, trust_id)
    if not parent.redelegation_count:
        raise Forbidden("The trust can't be passed on (any further).")
    if row.remaining_uses is not None:
        raise BadRequest("remaining_uses must not be set if redelegation is allowed")
    longer = row.expires_at_us is None or row.expires_at_us > (parent.expires_at_us or 0)
    if parent.expires_at_us is not None and longer:
        raise Forbidden("Requested expiration time is more than redelegated trust can provide.")
    if row.impersonation and not parent.impersonation:
        raise Forbidden("Impersonation is not allowed because redelegated trust does not specify it.")
    row.redelegated_trust_id = parent.id
    row.redelegation_count = min(wanted if wanted is not None else limit, parent.redelegation_count - 1)
    return parent


def _chosen(
    session: Session, row: Trust, wanted: list[dict[str, str]], parent: Trust | None
) -> list[str]:
    """The roles' ids. Raises NotFound, Forbidden for one that the trustor does not have to give."""
    project = session.get(Project, row.project_id)
    if project is None:
        raise not_found("project", row.project_id or "")
    owned = {role.id for role in effective.on_project(session, row.trustor_id, project)}
    if parent is not None:
        owned &= {role.id for role in _roles(session, parent.id)}
    ids = []
    for named in wanted:
        found = session.get(Role, named["id"]) if "id" in named else _role_named(session, named["name"])
        if found is None:
            raise not_found("role", named.get("id") or named.get("name", ""))
        if found.id not in owned:
            raise Forbidden(
                "Some of requested roles are not in redelegated trust"
                if parent
                else f"The trustor does not have the role {found.id}."
            )
        ids.append(found.id)
    return list(dict.fromkeys(ids))


def _role_named(session: Session, name: str) -> Role | None:
    return session.scalars(select(Role).where(Role.name == name, Role.name_space == "")).first()


def list_all(call: Call) -> Answer:
    """GET: of a trustor, of a trustee, or all for those who may."""
    trustor, trustee = call.query("trustor_user_id"), call.query("trustee_user_id")
    if trustor:
        call.enforce("list_trusts_for_trustor", trust={"trustor_user_id": trustor})
    if trustee:
        call.enforce("list_trusts_for_trustee", trust={"trustee_user_id": trustee})
    if not trustor and not trustee:
        call.enforce("list_trusts")
    query = select(Trust).order_by(Trust.id)
    query = query.where(Trust.trustor_id == trustor) if trustor else query
    query = query.where(Trust.trustee_id == trustee) if trustee else query
    now_us = call.identity.now_us()
    with call.read() as session:
        rows = [row for row in session.scalars(query) if not _has_expired(row, now_us)]
        return call.listed("trusts", [_view(call, row) for row in rows])


def _row(call: Call, session: Session, rule: str) -> Trust:
    """Raises NotFound, then Forbidden: in this order, as upstream does."""
    row: Trust | None = session.get(Trust, call.path["trust_id"])
    if row is None or _has_expired(row, call.identity.now_us()):
        raise not_found("trust", call.path["trust_id"])
    facts = {"trustor_user_id": row.trustor_id, "trustee_user_id": row.trustee_id}
    call.enforce(rule, trust=facts)
    return row


def _has_expired(row: Trust, now_us: int) -> bool:
    return row.expires_at_us is not None and row.expires_at_us <= now_us


def show(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        return json_answer({"trust": _full(call, session, _row(call, session, "get_trust"))})


def delete(call: Call) -> Answer:
    """DELETE: with all that was passed on of it; their tokens are worth nothing at once."""
    with call.write() as session:
        row = _row(call, session, "delete_trust")
        revoke(session, call.identity.now_us(), trust_id=row.id)
        session.delete(row)
    return NO_CONTENT


def list_roles(call: Call) -> Answer:
    """GET of its roles."""
    with call.read() as session:
        row = _row(call, session, "list_roles_for_trust")
        return call.listed("roles", [_role_view(call, role) for role in _roles(session, row.id)])


def show_role(call: Call) -> Answer:
    """GET of one of its roles, HEAD whether it is one."""
    with call.read() as session:
        row = _row(call, session, "get_role_for_trust")
        for role in _roles(session, row.id):
            if role.id == call.path["role_id"]:
                return json_answer({"role": _role_view(call, role)})
    raise NotFound(f"Could not find role: {call.path['role_id']}.")


_ROOT = "/v3/OS-TRUST/trusts"
_ONE = f"{_ROOT}/{{trust_id}}"
ROUTES = [
    ("POST", _ROOT, create),
    ("GET", _ROOT, list_all),
    ("GET", _ONE, show),
    ("DELETE", _ONE, delete),
    ("GET", f"{_ONE}/roles", list_roles),
    ("GET", f"{_ONE}/roles/{{role_id}}", show_role),
]
