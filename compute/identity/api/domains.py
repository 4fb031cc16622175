"""/v3/domains."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.call import Call
from compute.identity.domains import (
    COLUMNS,
    check_change_of_state,
    check_name_free,
    disabled,
    domain_view,
    remove_domain,
    set_tags,
)
from compute.identity.models.projects import Project
from compute.identity.resource import Resource, check_mutable, store
from compute.server.errors import NotFound
from compute.server.request import Answer
from compute.server.schema import BOOLEAN, ID, NAME, TEXT_OR_NULL, Schema, object_of

TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^,/]*$"}
TAGS: dict[str, Any] = {"type": "array", "items": TAG, "maxItems": 80, "uniqueItems": True}
_FIELDS = {
    "name": {**NAME, "maxLength": 64},
    "description": TEXT_OR_NULL,
    "enabled": BOOLEAN,
    "tags": TAGS,
    "options": object_of({"immutable": {"type": ["boolean", "null"]}}, more=False),
}


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Project:
    row = Project(
        id=fields.get("explicit_domain_id") or call.identity.new_id(),
        name_space="",
        is_domain=True,
        enabled=True,
        options={},
        extra={},
    )
    skipped = ("tags", "explicit_domain_id")
    store(row, {k: v for k, v in fields.items() if k not in skipped}, COLUMNS)
    check_name_free(session, row)
    session.add(row)
    session.flush()
    set_tags(session, row.id, fields.get("tags") or [])
    return row


def _change(call: Call, session: Session, row: Project, fields: dict[str, Any]) -> None:
    check_mutable("domain", row, fields)
    if "enabled" in fields and fields["enabled"] != row.enabled:
        check_change_of_state(session, row, enabled=fields["enabled"])
        if not fields["enabled"]:
            disabled(session, row, call.identity.now_us())
    store(row, {k: v for k, v in fields.items() if k != "tags"}, COLUMNS)
    check_name_free(session, row)
    if "tags" in fields:
        set_tags(session, row.id, fields["tags"])


def _remove(_call: Call, session: Session, row: Project) -> None:
    check_mutable("domain", row, None)
    remove_domain(session, row)


class _Domains(Resource[Project]):
    def found(self, call: Call, session: Session, rule: str) -> Project:
        """A project that is no domain is not found here."""
        row = session.get(Project, call.path["domain_id"])
        if row is not None and not row.is_domain:
            call.enforce(rule, domain={"id": row.id})
            raise NotFound(f"Could not find domain: {row.id}.")
        return super().found(call, session, rule)

    def list(self, call: Call) -> Answer:
        """What a reader of one domain may list is that domain alone."""
        with call.read() as session:
            own = call.actor.credentials["domain_id"]
            every = call.allowed("list_domains")
            if not every:
                call.enforce("list_domains", domain={"id": own} if own else {})
            query = self.filtered(call, select(Project).where(Project.is_domain))
            rows = [r for r in session.scalars(query) if every or r.id == own]
            return call.listed("domains", [self.shown(call, session, row) for row in rows])


DOMAINS = _Domains(
    noun="domain",
    model=Project,
    create_schema=Schema(object_of({**_FIELDS, "explicit_domain_id": ID}, ["name"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=domain_view,
    make=_make,
    change=_change,
    remove=_remove,
    filters=("name", "enabled"),
)

ROUTES = DOMAINS.routes()
