"""/v3/projects with their trees and tags."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.api.domains import TAG, TAGS
from compute.identity.call import Call
from compute.identity.domains import (
    COLUMNS,
    check_change_of_state,
    check_depth,
    check_name_free,
    disabled,
    parent_of,
    project_view,
    remove_domain,
    remove_project,
    set_tags,
    tags_of,
)
from compute.identity.models.people import User
from compute.identity.models.projects import Project, ProjectTag
from compute.identity.resource import Resource, check_mutable, store
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import BOOLEAN, ID, ID_OR_NULL, NAME, TEXT_OR_NULL, Schema, object_of

_FIELDS = {
    "name": {**NAME, "maxLength": 64},
    "description": TEXT_OR_NULL,
    "enabled": BOOLEAN,
    "domain_id": ID_OR_NULL,
    "parent_id": ID_OR_NULL,
    "is_domain": BOOLEAN,
    "tags": TAGS,
    "options": object_of({"immutable": {"type": ["boolean", "null"]}}, more=False),
}
_OWN = ("domain_id", "parent_id", "is_domain", "tags")


def domain_for(call: Call, session: Session, fields: dict[str, Any]) -> str:
    """The domain of what is made: as given, the parent's, or the scope's. Raises BadRequest."""
    if fields.get("domain_id"):
        return str(fields["domain_id"])
    parent = session.get(Project, fields["parent_id"]) if fields.get("parent_id") else None
    if parent is not None:
        return parent.domain_id or parent.id
    credentials = call.actor.credentials
    scope = credentials["domain_id"] or credentials["project_domain_id"]
    if not scope:
        raise BadRequest("A domain-scoped or project-scoped token, or a domain_id, is needed.")
    return str(scope)


def _target(call: Call, session: Session, fields: dict[str, Any]) -> dict[str, Any]:
    if "domain_id" in fields or fields.get("is_domain"):
        return {**fields, "domain_id": fields.get("domain_id")}
    return {**fields, "domain_id": domain_for(call, session, fields)}


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Project:
    row = Project(id=call.identity.new_id(), enabled=True, options={}, extra={}, is_domain=False)
    if fields.get("is_domain"):
        if fields.get("domain_id") or fields.get("parent_id"):
            raise BadRequest("A project that acts as a domain has no domain and no parent.")
        row.is_domain, row.name_space = True, ""
    else:
        domain_id = domain_for(call, session, fields)
        parent = parent_of(session, domain_id, fields.get("parent_id"))
        check_depth(session, parent, call.identity.settings)
        row.domain_id, row.parent_id, row.name_space = domain_id, parent.id, domain_id
    store(row, {k: v for k, v in fields.items() if k not in _OWN}, COLUMNS)
    check_name_free(session, row)
    session.add(row)
    session.flush()
    set_tags(session, row.id, fields.get("tags") or [])
    return row


def _change(call: Call, session: Session, row: Project, fields: dict[str, Any]) -> None:
    check_mutable("project", row, fields)
    for name in ("domain_id", "is_domain"):
        if name in fields and fields[name] != getattr(row, name):
            raise BadRequest(f"Update of `{name}` is not allowed.")
    if "parent_id" in fields and fields["parent_id"] != row.parent_id:
        raise Forbidden("Update of `parent_id` is not allowed.")
    if "enabled" in fields and fields["enabled"] != row.enabled:
        check_change_of_state(session, row, enabled=fields["enabled"])
        if not fields["enabled"]:
            disabled(session, row, call.identity.now_us())
    store(row, {k: v for k, v in fields.items() if k not in _OWN}, COLUMNS)
    check_name_free(session, row)
    if "tags" in fields:
        set_tags(session, row.id, fields["tags"])


def _remove(_call: Call, session: Session, row: Project) -> None:
    check_mutable("project", row, None)
    if row.is_domain:
        remove_domain(session, row)
        return
    for user in session.scalars(select(User).where(User.default_project_id == row.id)):
        user.default_project_id = None
    remove_project(session, row)


class _Projects(Resource[Project]):
    def list(self, call: Call) -> Answer:
        """Those of one domain for its readers, all for those who may."""
        domain_id = call.query("domain_id")
        own = call.actor.credentials["domain_id"]
        if not call.allowed("list_projects", domain_id=domain_id):
            call.enforce("list_projects", domain_id=domain_id or own)
            domain_id = own
        with call.read() as session:
            query = self._query(call, domain_id)
            rows = session.scalars(query).all()
            return call.listed("projects", [self.shown(call, session, row) for row in rows])

    def _query(self, call: Call, domain_id: str | None) -> Select[Project]:
        query = select(Project).where(Project.is_domain.is_(call.flag("is_domain")))
        if domain_id:
            query = query.where(Project.domain_id == domain_id)
        return tagged(call, self.filtered(call, query))

    def show(self, call: Call) -> Answer:
        """With what is above and below, as lists or trees of ids, where the query asks for it."""
        with call.read() as session:
            row = self.found(call, session, "get_project")
            body = self.shown(call, session, row)
            if call.flag("parents_as_list") and call.flag("parents_as_ids"):
                raise BadRequest(
                    "Cannot use parents_as_list and parents_as_ids query params at the same time."
                )
            if call.flag("subtree_as_list") and call.flag("subtree_as_ids"):
                raise BadRequest(
                    "Cannot use subtree_as_list and subtree_as_ids query params at the same time."
                )
            self._relatives(call, session, row, body)
            return json_answer({"project": body})

    def _relatives(self, call: Call, session: Session, row: Project, body: dict[str, Any]) -> None:
        above = effective.ancestors(session, row)
        if call.flag("parents_as_list"):
            seen, _ = effective.reachable(session, call.actor.user_id)
            ids = {project.id for project in seen}
            body["parents"] = [{"project": self.shown(call, session, p)} for p in above if p.id in ids]
        if call.flag("parents_as_ids"):
            tree: dict[str, Any] | None = None
            for project in reversed(above):
                tree = {project.id: tree}
            body["parents"] = tree
        if call.flag("subtree_as_list"):
            seen, _ = effective.reachable(session, call.actor.user_id)
            ids = {project.id for project in seen} & effective.below(session, [row.id])
            rows = session.scalars(select(Project).where(Project.id.in_(ids)).order_by(Project.id))
            body["subtree"] = [{"project": self.shown(call, session, p)} for p in rows]
        if call.flag("subtree_as_ids"):
            body["subtree"] = _subtree(session, row.id)


def _subtree(session: Session, project_id: str) -> dict[str, Any] | None:
    children = session.scalars(select(Project.id).where(Project.parent_id == project_id)).all()
    return {child: _subtree(session, child) for child in children} or None


def tagged(call: Call, query: Select[Project]) -> Select[Project]:
    """The tag filters: tags (all of them), tags-any, not-tags (not all), not-tags-any."""

    def having(tag: str) -> Any:
        return select(ProjectTag.project_id).where(ProjectTag.name == tag)

    def having_any(tags: list[str]) -> Any:
        return select(ProjectTag.project_id).where(ProjectTag.name.in_(tags))

    def having_all(tags: list[str]) -> Any:
        found = select(Project.id)
        for tag in tags:
            found = found.where(Project.id.in_(having(tag)))
        return found

    for name, ids, wanted in (
        ("tags", having_all, True),
        ("tags-any", having_any, True),
        ("not-tags", having_all, False),
        ("not-tags-any", having_any, False),
    ):
        if (value := call.query(name)) is not None:
            chosen = ids(value.split(","))
            query = query.where(Project.id.in_(chosen) if wanted else Project.id.not_in(chosen))
    return query


PROJECTS = _Projects(
    noun="project",
    model=Project,
    create_schema=Schema(object_of({**_FIELDS, "id": ID}, ["name"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=project_view,
    make=_make,
    change=_change,
    remove=_remove,
    target=_target,
    filters=("name", "enabled", "parent_id"),
)

# -- tags --

_TAGS_SCHEMA = Schema(object_of({"tags": TAGS}, ["tags"]))
_TAG_SCHEMA = Schema(TAG)


def _tags_answer(call: Call, session: Session, project_id: str) -> Answer:
    links = {"next": None, "self": f"{call.v3}/projects/{project_id}/tags", "previous": None}
    return json_answer({"tags": tags_of(session, project_id), "links": links})


def list_tags(call: Call) -> Answer:
    """GET /v3/projects/{project_id}/tags."""
    with call.read() as session:
        row = PROJECTS.found(call, session, "list_project_tags")
        return _tags_answer(call, session, row.id)


def put_tags(call: Call) -> Answer:
    """PUT /v3/projects/{project_id}/tags: these in place of all others."""
    body = call.request.json()
    _TAGS_SCHEMA.check(body)
    with call.write() as session:
        row = PROJECTS.found(call, session, "update_project_tags")
        set_tags(session, row.id, body["tags"])
        session.flush()
        return _tags_answer(call, session, row.id)


def delete_tags(call: Call) -> Answer:
    """DELETE /v3/projects/{project_id}/tags."""
    with call.write() as session:
        row = PROJECTS.found(call, session, "delete_project_tags")
        set_tags(session, row.id, [])
    return NO_CONTENT


def put_tag(call: Call) -> Answer:
    """PUT of one tag: 201, whether or not it was there."""
    tag = call.path["tag"]
    _TAG_SCHEMA.check(tag)
    with call.write() as session:
        row = PROJECTS.found(call, session, "create_project_tag")
        set_tags(session, row.id, [*tags_of(session, row.id), tag])
        place = f"{call.v3}/projects/{row.id}/tags/{tag}"
    return Answer(201, None, {"Location": place})


def show_tag(call: Call) -> Answer:
    """GET of one tag: 204 or 404."""
    with call.read() as session:
        row = PROJECTS.found(call, session, "get_project_tag")
        if call.path["tag"] not in tags_of(session, row.id):
            raise NotFound(f"Could not find project tag: {call.path['tag']}.")
    return NO_CONTENT


def delete_tag(call: Call) -> Answer:
    """DELETE of one tag."""
    with call.write() as session:
        row = PROJECTS.found(call, session, "delete_project_tag")
        tag = session.get(ProjectTag, (row.id, call.path["tag"]))
        if tag is None:
            raise NotFound(f"Could not find project tag: {call.path['tag']}.")
        session.delete(tag)
    return NO_CONTENT


_TAGS = "/v3/projects/{project_id}/tags"
ROUTES = [
    *PROJECTS.routes(),
    ("GET", _TAGS, list_tags),
    ("PUT", _TAGS, put_tags),
    ("DELETE", _TAGS, delete_tags),
    ("GET", f"{_TAGS}/{{tag}}", show_tag),
    ("PUT", f"{_TAGS}/{{tag}}", put_tag),
    ("DELETE", f"{_TAGS}/{{tag}}", delete_tag),
]
