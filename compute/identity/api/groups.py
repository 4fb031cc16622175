"""/v3/groups and who is in them."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.api.projects import domain_for
from compute.identity.call import Call
from compute.identity.errors import duplicate, not_found
from compute.identity.models.people import Group, Membership, User
from compute.identity.models.projects import Project
from compute.identity.resource import Resource, link, store
from compute.identity.tokens.revocations import revoke
from compute.identity.users import user_view
from compute.server.errors import BadRequest, NotFound
from compute.server.request import NO_CONTENT, Answer
from compute.server.schema import ID, NAME, TEXT_OR_NULL, Schema, object_of

_COLUMNS = ("name", "description")
_FIELDS = {"name": {**NAME, "maxLength": 64}, "description": TEXT_OR_NULL}


def group_view(_session: Session, row: Group) -> dict[str, Any]:
    """A group as the API shows it."""
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description or "",
    }


def _target(call: Call, session: Session, fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "domain_id": domain_for(call, session, {"domain_id": fields.get("domain_id")})}


def _check_name_free(session: Session, row: Group) -> None:
    query = select(Group.id).where(
        Group.domain_id == row.domain_id, Group.name == row.name, Group.id != row.id
    )
    with session.no_autoflush:
        if session.scalars(query).first() is not None:
            raise duplicate(
                "group", f"Duplicate entry found with name {row.name} at domain ID {row.domain_id}"
            )


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Group:
    row = Group(id=call.identity.new_id(), extra={})
    row.domain_id = domain_for(call, session, {"domain_id": fields.get("domain_id")})
    domain = session.get(Project, row.domain_id)
    if domain is None or not domain.is_domain:
        raise not_found("domain", row.domain_id)
    store(row, {k: v for k, v in fields.items() if k != "domain_id"}, _COLUMNS)
    _check_name_free(session, row)
    session.add(row)
    return row


def _change(_call: Call, session: Session, row: Group, fields: dict[str, Any]) -> None:
    if "domain_id" in fields and fields["domain_id"] != row.domain_id:
        raise BadRequest("Cannot change group's domain.")
    store(row, {k: v for k, v in fields.items() if k != "domain_id"}, _COLUMNS)
    _check_name_free(session, row)


class _Groups(Resource[Group]):
    def list(self, call: Call) -> Answer:
        """Those of one domain for its readers."""
        domain_id, own = call.query("domain_id"), call.actor.credentials["domain_id"]
        if not call.allowed("list_groups", group={"domain_id": domain_id} if domain_id else {}):
            wanted = domain_id or own
            call.enforce("list_groups", group={"domain_id": wanted} if wanted else {})
            domain_id = own
        query = self.filtered(call, select(Group))
        if domain_id:
            query = query.where(Group.domain_id == domain_id)
        with call.read() as session:
            rows = session.scalars(query).all()
            return call.listed("groups", [self.shown(call, session, row) for row in rows])


GROUPS = _Groups(
    noun="group",
    model=Group,
    create_schema=Schema(object_of({**_FIELDS, "domain_id": ID}, ["name"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=group_view,
    make=_make,
    change=_change,
    target=_target,
    filters=("name",),
)


def _pair(call: Call, session: Session, rule: str) -> tuple[Group, User]:
    """The group and the user of the path. Raises Forbidden, NotFound."""
    group = session.get(Group, call.path["group_id"])
    user = session.get(User, call.path["user_id"])
    call.enforce(
        rule,
        group=group_view(session, group) if group else {},
        user=user_view(session, user) if user else {},
    )
    if group is None:
        raise not_found("group", call.path["group_id"])
    if user is None:
        raise not_found("user", call.path["user_id"])
    return group, user


def list_users(call: Call) -> Answer:
    """GET /v3/groups/{group_id}/users."""
    with call.read() as session:
        group = GROUPS.found(call, session, "list_users_in_group")
        members = select(Membership.user_id).where(Membership.group_id == group.id)
        rows = session.scalars(select(User).where(User.id.in_(members)).order_by(User.id))
        views = [user_view(session, row) for row in rows]
        return call.listed("users", [{**v, "links": link(call, "users", v["id"])} for v in views])


def add_user(call: Call) -> Answer:
    """PUT: a second time changes nothing."""
    with call.write() as session:
        group, user = _pair(call, session, "add_user_to_group")
        if session.get(Membership, (user.id, group.id)) is None:
            session.add(Membership(user_id=user.id, group_id=group.id))
    return NO_CONTENT


def check_user(call: Call) -> Answer:
    """GET or HEAD: 204 or 404."""
    with call.read() as session:
        group, user = _pair(call, session, "check_user_in_group")
        if session.get(Membership, (user.id, group.id)) is None:
            raise NotFound(f"User '{user.id}' not found in group '{group.id}'")
    return NO_CONTENT


def remove_user(call: Call) -> Answer:
    """DELETE: the user's tokens may rest on the group, so they are revoked."""
    with call.write() as session:
        group, user = _pair(call, session, "remove_user_from_group")
        member = session.get(Membership, (user.id, group.id))
        if member is None:
            raise NotFound(f"User '{user.id}' not found in group '{group.id}'")
        session.delete(member)
        revoke(session, call.identity.now_us(), user_id=user.id)
    return NO_CONTENT


_MEMBER = "/v3/groups/{group_id}/users/{user_id}"
ROUTES = [
    *GROUPS.routes(),
    ("GET", "/v3/groups/{group_id}/users", list_users),
    ("PUT", _MEMBER, add_user),
    ("GET", _MEMBER, check_user),
    ("DELETE", _MEMBER, remove_user),
]
