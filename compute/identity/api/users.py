"""/v3/users: the five verbs, passwords, groups and projects of a user."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.api.groups import GROUPS
from compute.identity.api.projects import PROJECTS, domain_for
from compute.identity.call import Call
from compute.identity.errors import not_found, unauthorized
from compute.identity.instants import parse
from compute.identity.models.people import Group, Membership, Password, User
from compute.identity.models.projects import Project
from compute.identity.passwords import check_strength, hashed
from compute.identity.resource import Resource, store
from compute.identity.tokens.methods import check_password
from compute.identity.tokens.revocations import revoke
from compute.identity.users import (
    COLUMNS,
    check_age,
    check_name_free,
    check_not_used,
    passwords_of,
    set_password,
    user_view,
)
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import NO_CONTENT, Answer
from compute.server.schema import BOOLEAN, ID, ID_OR_NULL, NAME, TEXT_OR_NULL, Schema, object_of

_TRUE_OR_NULL = {"type": ["boolean", "null"]}
_RULES = {
    "type": ["array", "null"],
    "items": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    "uniqueItems": True,
}
_OPTIONS = object_of(
    {
        "ignore_change_password_upon_first_use": _TRUE_OR_NULL,
        "ignore_password_expiry": _TRUE_OR_NULL,
        "ignore_lockout_failure_attempts": _TRUE_OR_NULL,
        "ignore_user_inactivity": _TRUE_OR_NULL,
        "lock_password": _TRUE_OR_NULL,
        "multi_factor_auth_enabled": _TRUE_OR_NULL,
        "multi_factor_auth_rules": _RULES,
    },
    more=False,
)
_FIELDS = {
    "name": NAME,
    "password": TEXT_OR_NULL,
    "enabled": BOOLEAN,
    "default_project_id": ID_OR_NULL,
    "description": TEXT_OR_NULL,
    "email": TEXT_OR_NULL,
    "options": _OPTIONS,
}
_HASH = "password hash"
_OWN = ("domain_id", "password", _HASH, "options")


def _target(call: Call, session: Session, fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "domain_id": domain_for(call, session, {"domain_id": fields.get("domain_id")})}


def _hashed(call: Call, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the password's hash, made before the transaction."""
    password = fields.get("password")
    if password is None:
        return fields
    check_strength(password, call.identity.settings)
    return {**fields, _HASH: hashed(password)}


def _make(call: Call, session: Session, fields: dict[str, Any]) -> User:
    row = User(id=call.identity.new_id(), enabled=True, extra={}, failures=0, failed_at_us=0)
    row.domain_id = domain_for(call, session, {"domain_id": fields.get("domain_id")})
    domain = session.get(Project, row.domain_id)
    if domain is None or not domain.is_domain:
        raise not_found("domain", row.domain_id)
    row.options = fields.get("options") or {}
    store(row, {k: v for k, v in fields.items() if k not in _OWN}, COLUMNS)
    check_name_free(session, row)
    session.add(row)
    session.flush()
    if _HASH in fields:
        set_password(session, row, fields[_HASH], call.identity, by_user=False, first=True)
    return row


def _change(call: Call, session: Session, row: User, fields: dict[str, Any]) -> None:
    if "domain_id" in fields and fields["domain_id"] != row.domain_id:
        raise BadRequest("Cannot change user's domain.")
    if fields.get("enabled") is False and row.enabled:
        revoke(session, call.identity.now_us(), user_id=row.id)
    if fields.get("enabled") is True:
        row.failures = 0  # an administrator's way to unlock an account
    row.options = {**row.options, **(fields.get("options") or {})}
    store(row, {k: v for k, v in fields.items() if k not in _OWN}, COLUMNS)
    check_name_free(session, row)
    if _HASH in fields:
        set_password(session, row, fields[_HASH], call.identity, by_user=False)


class _Users(Resource[User]):
    def list(self, call: Call) -> Answer:
        """Those of one domain for its readers; ?password_expires_at=lt:… as upstream has it."""
        domain_id, own = call.query("domain_id"), call.actor.credentials["domain_id"]
        if not call.allowed("list_users", domain_id=domain_id):
            call.enforce("list_users", domain_id=domain_id or own)
            domain_id = own
        query = self.filtered(call, select(User))
        if domain_id:
            query = query.where(User.domain_id == domain_id)
        if (expires := call.query("password_expires_at")) is not None:
            query = query.where(User.id.in_(_expiring(expires)))
        with call.read() as session:
            rows = session.scalars(query).all()
            return call.listed("users", [self.shown(call, session, row) for row in rows])


def _expiring(text: str) -> Any:
    how, colon, when = text.partition(":")
    if not colon or how not in ("lt", "lte", "gt", "gte", "eq", "neq"):
        how, when = "eq", text
    column, at = Password.expires_at_us, parse(when)
    tests = {
        "lt": column < at,
        "lte": column <= at,
        "gt": column > at,
        "gte": column >= at,
        "eq": column == at,
        "neq": column != at,
    }
    newest = select(Password.number).where(Password.user_id == User.id)
    last = newest.order_by(Password.number.desc()).limit(1).scalar_subquery()
    return select(Password.user_id).where(Password.number == last, tests[how])


USERS = _Users(
    noun="user",
    model=User,
    create_schema=Schema(object_of({**_FIELDS, "domain_id": ID}, ["name"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=user_view,
    make=_make,
    change=_change,
    before=_hashed,
    target=_target,
    filters=("name", "enabled"),
)

_PASSWORD_SCHEMA = Schema(
    object_of(
        {"original_password": {"type": "string"}, "password": {"type": "string"}},
        ["original_password", "password"],
    )
)


def change_password(call: Call) -> Answer:
    """POST /v3/users/{user_id}/password: whoever knows the old one may, an expired one included."""
    fields, user_id, identity = call.body("user"), call.path["user_id"], call.identity
    _PASSWORD_SCHEMA.check(fields)
    password = fields["password"]
    check_password(identity, {"id": user_id}, fields["original_password"])
    with call.read() as session:
        user, earlier = session.get(User, user_id), passwords_of(session, user_id)
    if user is None:
        raise unauthorized()
    if user.options.get("lock_password"):
        raise Forbidden(
            "You cannot change your password at this time due to password policy disallowing password"
            " changes. Please contact your administrator to reset your password."
        )
    check_age(earlier[0] if earlier else None, identity.now_us(), identity.settings)
    check_strength(password, identity.settings)
    check_not_used(earlier, password, identity.settings)
    kept = hashed(password)
    with call.write() as session:
        row = session.get(User, user_id)
        present = passwords_of(session, user_id)
        if row is None or not present or present[0].number != earlier[0].number:
            raise unauthorized()  # another change was first, so the old password is no longer right
        set_password(session, row, kept, identity, by_user=True)
    return NO_CONTENT


def list_groups(call: Call) -> Answer:
    """GET /v3/users/{user_id}/groups."""
    with call.read() as session:
        user = session.get(User, call.path["user_id"])
        call.enforce("list_groups_for_user", user=user_view(session, user) if user else {})
        if user is None:
            raise not_found("user", call.path["user_id"])
        mine = select(Membership.group_id).where(Membership.user_id == user.id)
        rows = session.scalars(GROUPS.filtered(call, select(Group).where(Group.id.in_(mine))))
        return call.listed("groups", [GROUPS.shown(call, session, row) for row in rows])


def list_projects(call: Call) -> Answer:
    """GET /v3/users/{user_id}/projects."""
    with call.read() as session:
        user = session.get(User, call.path["user_id"])
        call.enforce("list_user_projects", user=user_view(session, user) if user else {})
        if user is None:
            raise not_found("user", call.path["user_id"])
        rows, _ = effective.reachable(session, user.id)
        return call.listed("projects", [PROJECTS.shown(call, session, row) for row in rows])


OPEN_ROUTES = [("POST", "/v3/users/{user_id}/password", change_password)]
ROUTES = [
    *USERS.routes(),
    ("GET", "/v3/users/{user_id}/groups", list_groups),
    ("GET", "/v3/users/{user_id}/projects", list_projects),
]
