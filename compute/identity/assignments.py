"""Role assignments as rows: one key per assignment, who, where, and whether it is for what is below."""

from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.identity.models.roles import Assignment


class Grant(NamedTuple):
    """An assignment without its role. Exactly one of user_id, group_id; project_id None: the system."""

    user_id: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    inherited: bool = False

    def key(self, role_id: str) -> str:
        """What makes it this one and no other."""
        who = f"u{self.user_id}" if self.user_id else f"g{self.group_id}"
        return f"{who} {self.project_id or 'system'} {role_id} {'i' if self.inherited else 'd'}"

    def query(self) -> Select[Assignment]:
        """All of these, whatever the role."""
        return select(Assignment).where(
            Assignment.user_id == self.user_id
            if self.user_id
            else Assignment.group_id == self.group_id,
            Assignment.project_id == self.project_id
            if self.project_id
            else Assignment.project_id.is_(None),
            Assignment.inherited.is_(self.inherited),
        )


def assign(session: Session, grant: Grant, role_id: str) -> None:
    """Give a role; giving it again changes nothing."""
    key = grant.key(role_id)
    if session.get(Assignment, key) is None:
        session.add(Assignment(key=key, role_id=role_id, **grant._asdict()))


def taken(session: Session, grant: Grant, role_id: str) -> bool:
    """Take a role away; whether it was there."""
    row = session.get(Assignment, grant.key(role_id))
    if row is not None:
        session.delete(row)
    return row is not None
