"""/v3/roles, of everyone or of one domain, and which imply which."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.call import Call
from compute.identity.errors import duplicate, duplicate_name, not_found
from compute.identity.models.projects import Project
from compute.identity.models.roles import Implication, Role
from compute.identity.resource import Resource, check_mutable, link, store
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import ID_OR_NULL, NAME, TEXT_OR_NULL, Schema, object_of

ROOT_ROLE = "admin"
"""Nothing may imply it: a chain of implications must not make an administrator."""

_COLUMNS = ("name", "description", "options")
_FIELDS = {
    "name": NAME,
    "description": TEXT_OR_NULL,
    "options": object_of({"immutable": {"type": ["boolean", "null"]}}, more=False),
}


def role_view(_session: Session, row: Role) -> dict[str, Any]:
    """A role as the API shows it."""
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "options": row.options,
    }


def _check_name_free(session: Session, row: Role) -> None:
    query = select(Role.id).where(
        Role.name_space == row.name_space, Role.name == row.name, Role.id != row.id
    )
    with session.no_autoflush:
        if session.scalars(query).first() is not None:
            raise duplicate_name("role", row.name)


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Role:
    domain_id = fields.get("domain_id")
    if domain_id and session.get(Project, domain_id) is None:
        raise not_found("domain", domain_id)
    row = Role(id=call.identity.new_id(), options={}, extra={})
    row.domain_id, row.name_space = domain_id, domain_id or ""
    store(row, {k: v for k, v in fields.items() if k != "domain_id"}, _COLUMNS)
    _check_name_free(session, row)
    session.add(row)
    return row


def _change(_call: Call, session: Session, row: Role, fields: dict[str, Any]) -> None:
    if "domain_id" in fields and fields["domain_id"] != row.domain_id:
        raise BadRequest("Cannot change role's domain.")
    check_mutable("role", row, fields)
    store(row, {k: v for k, v in fields.items() if k != "domain_id"}, _COLUMNS)
    _check_name_free(session, row)


def _remove(_call: Call, session: Session, row: Role) -> None:
    check_mutable("role", row, None)
    session.delete(row)


class _Roles(Resource[Role]):
    """The rules of a domain's role have names of their own."""

    def found(self, call: Call, session: Session, rule: str) -> Role:
        row = session.get(Role, call.path["role_id"])
        if row is not None and row.domain_id:
            rule = rule.replace("_role", "_domain_role")
        return super().found(call, session, rule)

    def create(self, call: Call) -> Answer:
        fields = call.body("role", self.create_schema)
        rule = "create_domain_role" if fields.get("domain_id") else "create_role"
        call.enforce(rule, role=fields)
        with call.write() as session:
            row = self.make(call, session, fields)
            session.flush()
            return json_answer({"role": self.shown(call, session, row)}, 201)

    def list(self, call: Call) -> Answer:
        domain_id = call.query("domain_id")
        call.enforce("list_domain_roles" if domain_id else "list_roles")
        query = select(Role)
        query = (
            query.where(Role.domain_id == domain_id)
            if domain_id
            else query.where(Role.domain_id.is_(None))
        )
        with call.read() as session:
            rows = session.scalars(self.filtered(call, query)).all()
            return call.listed("roles", [self.shown(call, session, row) for row in rows])


ROLES = _Roles(
    noun="role",
    model=Role,
    create_schema=Schema(object_of({**_FIELDS, "domain_id": ID_OR_NULL}, ["name"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=role_view,
    make=_make,
    change=_change,
    remove=_remove,
    filters=("name",),
)

# -- implications --


def _ref(call: Call, row: Role) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "links": link(call, "roles", row.id),
    }


def _role(session: Session, ident: str) -> Role:
    row: Role | None = session.get(Role, ident)
    if row is None:
        raise not_found("role", ident)
    return row


def _both(call: Call, session: Session) -> tuple[Role, Role]:
    return _role(session, call.path["prior_role_id"]), _role(session, call.path["implied_role_id"])


def _inference(call: Call, prior: Role, implied: Role) -> dict[str, Any]:
    itself = f"{call.v3}/roles/{prior.id}/implies/{implied.id}"
    inference = {"prior_role": _ref(call, prior), "implies": _ref(call, implied)}
    return {"role_inference": inference, "links": {"self": itself}}


def put_implication(call: Call) -> Answer:
    """PUT: the prior role implies the other one from now on."""
    with call.write() as session:
        call.enforce("create_implied_role")
        prior, implied = _both(call, session)
        if implied.name == ROOT_ROLE and not implied.domain_id:
            raise Forbidden(f"{implied.id} cannot be an implied roles")
        if implied.domain_id and not prior.domain_id:
            raise Forbidden(
                f"{implied.id} is a domain-specific role and cannot be implied by a global one"
            )
        if prior.id in effective.implied_by([implied.id], effective.implication_rules(session)):
            raise BadRequest(f"Role {implied.id} implies {prior.id} already: a circle is not allowed.")
        if session.get(Implication, (prior.id, implied.id)) is not None:
            raise duplicate("implied_role", "Duplicate entry")
        session.add(Implication(prior_id=prior.id, implied_id=implied.id))
        return json_answer(_inference(call, prior, implied), 201)


def _implication(call: Call, session: Session) -> Implication:
    prior, implied = _both(call, session)
    row: Implication | None = session.get(Implication, (prior.id, implied.id))
    if row is None:
        raise NotFound(f"{prior.id} does not imply {implied.id}")
    return row


def show_implication(call: Call) -> Answer:
    """GET; HEAD says 204."""
    head = call.request.method == "HEAD"
    with call.read() as session:
        call.enforce("check_implied_role" if head else "get_implied_role")
        _implication(call, session)
        return NO_CONTENT if head else json_answer(_inference(call, *_both(call, session)))


def delete_implication(call: Call) -> Answer:
    """DELETE: tokens lose what it gave at once, as their roles are looked up when they are used."""
    with call.write() as session:
        call.enforce("delete_implied_role")
        session.delete(_implication(call, session))
    return NO_CONTENT


def _rule_views(call: Call, session: Session) -> list[dict[str, Any]]:
    views = []
    for prior_id, implied in sorted(effective.implication_rules(session).items()):
        roles = [_role(session, ident) for ident in sorted(implied)]
        prior = _ref(call, _role(session, prior_id))
        views.append({"prior_role": prior, "implies": [_ref(call, role) for role in roles]})
    return views


def list_implied(call: Call) -> Answer:
    """GET /v3/roles/{prior_role_id}/implies."""
    with call.read() as session:
        call.enforce("list_implied_roles")
        prior = _role(session, call.path["prior_role_id"])
        found = [v for v in _rule_views(call, session) if v["prior_role"]["id"] == prior.id]
        inference = found[0] if found else {"prior_role": _ref(call, prior), "implies": []}
        itself = {"self": f"{call.v3}/roles/{prior.id}/implies"}
        return json_answer({"role_inference": inference, "links": itself})


def list_inferences(call: Call) -> Answer:
    """GET /v3/role_inferences: all of them."""
    with call.read() as session:
        call.enforce("list_role_inference_rules")
        itself = {"self": f"{call.v3}/role_inferences"}
        return json_answer({"role_inferences": _rule_views(call, session), "links": itself})


_IMPLIES = "/v3/roles/{prior_role_id}/implies"
ROUTES = [
    *ROLES.routes(),
    ("GET", _IMPLIES, list_implied),
    ("PUT", f"{_IMPLIES}/{{implied_role_id}}", put_implication),
    ("GET", f"{_IMPLIES}/{{implied_role_id}}", show_implication),
    ("DELETE", f"{_IMPLIES}/{{implied_role_id}}", delete_implication),
    ("GET", "/v3/role_inferences", list_inferences),
]
