"""What takes tokens back before they expire: events that name what a token must fit."""

from typing import Any, Final

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from compute.identity.instants import text_of
from compute.identity.models.tokens import Revocation
from compute.identity.tokens.payload import Payload, unpacked

_FIELDS: Final = (
    "user_id",
    "project_id",
    "domain_id",
    "trust_id",
    "consumer_id",
    "access_token_id",
    "audit_id",
    "audit_chain_id",
)
KEEP_EXTRA_US: Final = 1800 * 1_000_000
"""An event outlives the last token that it can be about by this much, for clocks that differ."""


def revoke(session: Session, now_us: int, **fields: str) -> None:
    """Take back what was issued until now and fits all of `fields`."""
    session.add(Revocation(issued_before_us=now_us, revoked_at_us=now_us, **fields))


def forget_old(session: Session, now_us: int, token_s: int) -> None:
    """Remove events whose tokens have all expired."""
    before = now_us - token_s * 1_000_000 - KEEP_EXTRA_US
    session.execute(delete(Revocation).where(Revocation.revoked_at_us < before))


def is_revoked(session: Session, payload: Payload, user_domain_id: str, scope_domain_id: str) -> bool:
    """Whether an event takes this token back. scope_domain_id: "" for none."""
    own, first = payload.audit_ids[0], payload.audit_ids[-1]
    facts: dict[str, list[str]] = {
        "user_id": [payload.user_id],
        "project_id": [payload.scope_id] if payload.scope == "project" else [],
        "domain_id": [domain for domain in (user_domain_id, scope_domain_id) if domain],
        "trust_id": [unpacked(payload.trust)] if payload.trust else [],
        "consumer_id": [],
        "access_token_id": [unpacked(payload.access_token)] if payload.access_token else [],
        "audit_id": [own],
        "audit_chain_id": [first],
    }
    columns = {name: getattr(Revocation, name) for name in _FIELDS}
    all_fit = [or_(column.is_(None), column.in_(facts[name])) for name, column in columns.items()]
    said = or_(*(column.is_not(None) for column in columns.values()))
    query = select(Revocation.number).where(
        Revocation.issued_before_us >= payload.issued_at_us, and_(said, *all_fit)
    )
    return session.scalars(query.limit(1)).first() is not None


def events(session: Session, since_us: int | None) -> list[dict[str, Any]]:
    """What GET /v3/OS-REVOKE/events lists."""
    query = select(Revocation).order_by(Revocation.number)
    if since_us is not None:
        query = query.where(Revocation.revoked_at_us >= since_us)
    return [_view(row) for row in session.scalars(query)]


def _view(row: Revocation) -> dict[str, Any]:
    view = {"issued_before": text_of(row.issued_before_us), "revoked_at": text_of(row.revoked_at_us)}
    names = {"consumer_id": "OS-OAUTH1:consumer_id", "access_token_id": "OS-OAUTH1:access_token_id"}
    names |= {"trust_id": "OS-TRUST:trust_id"}
    for field in _FIELDS:
        if (value := getattr(row, field)) is not None:
            view[names.get(field, field)] = value
    return view
