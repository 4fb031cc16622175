"""Volumes and snapshots: which are whose, and what may be done with one in which state."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.volume.attachments import exports_of
from compute.volume.call import Call
from compute.volume.models.volumes import Snapshot, Volume

SETTLED: Final = (None, "none", "error", "success", "deleting")
"""Migration statuses of a volume that is not being migrated."""
DELETED_IN: Final = ("available", "error", "error_restoring", "error_extending", "error_managing")


def no_such_volume(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Volume {ident} could not be found.")


def no_such_snapshot(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Snapshot {ident} could not be found.")


def invalid_volume(reason: str) -> BadRequest:
    """The volume is not in the state for it."""
    return BadRequest(f"Invalid volume: {reason}")


def invalid_snapshot(reason: str) -> BadRequest:
    """The snapshot is not in the state for it."""
    return BadRequest(f"Invalid snapshot: {reason}")


def invalid_input(reason: str) -> BadRequest:
    """What was asked for makes no sense."""
    return BadRequest(f"Invalid input received: {reason}")


def volume_of(call: Call, session: Session, rule: str, ident: str | None = None) -> Volume:
    """A volume, for a caller who may; others' are not there. ident: the path's unless given."""
    ident = call.path["volume_id"] if ident is None else ident
    row = session.get(Volume, ident)
    if row is None or not call.allowed("volume:get", project_id=row.project_id):
        raise no_such_volume(ident)
    call.enforce(rule, project_id=row.project_id)
    return row


def snapshot_of(call: Call, session: Session, rule: str, ident: str | None = None) -> Snapshot:
    """The same of a snapshot."""
    ident = call.path["snapshot_id"] if ident is None else ident
    row = session.get(Snapshot, ident)
    if row is None or not call.allowed("volume:get_snapshot", project_id=row.project_id):
        raise no_such_snapshot(ident)
    call.enforce(rule, project_id=row.project_id)
    return row


def snapshots_of(session: Session, volume_id: str) -> list[Snapshot]:
    """A volume's snapshots, the newest first."""
    query = select(Snapshot).where(Snapshot.volume_id == volume_id)
    return list(session.scalars(query.order_by(Snapshot.created_us.desc(), Snapshot.id)))


def begin(row: Volume, status: str, *expected: str) -> bool:
    """Move to a transitional status, from one of those that are expected."""
    if row.status not in expected:
        return False
    row.previous_status, row.status = row.status, status
    return True


def check_deletable(session: Session, row: Volume, *, force: bool, cascade: bool) -> list[Snapshot]:
    """The snapshots that go with it. Raises BadRequest."""
    snapshots = snapshots_of(session, row.id)
    used = row.attach_status == "attached" or bool(exports_of(session, row.id))
    free = not used and row.migration_status in SETTLED
    known = force or row.status in DELETED_IN
    if cascade:
        plain = all(snapshot.group_snapshot_id is None for snapshot in snapshots)
        idle = force or all(
            snapshot.status in ("available", "error", "deleting")
            and snapshot.project_id == row.project_id
            for snapshot in snapshots
        )
        loose = plain and idle and not _are_sources(session, [snapshot.id for snapshot in snapshots])
    else:
        loose = not snapshots
    if not (free and known and loose and row.group_id is None):
        status = "" if force else f"status must be {_either(DELETED_IN)} and "
        raise invalid_volume(
            f"Volume {status}must not be migrating, attached, belong to a group, have snapshots,"
            " awaiting a transfer, or be disassociated from snapshots after volume transfer."
        )
    return snapshots


def _are_sources(session: Session, snapshot_ids: list[str]) -> bool:
    """Whether a volume is being made from one of them."""
    query = select(Volume.id).where(Volume.snapshot_id.in_(snapshot_ids), Volume.status == "creating")
    return session.scalar(query.limit(1)) is not None


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def check_snapshot_possible(row: Volume, *, in_use: bool) -> None:
    """Raises BadRequest."""
    if not row.host:
        raise invalid_volume(
            "The snapshot cannot be created because volume has not been scheduled to any host."
        )
    if row.migration_status not in SETTLED:
        raise invalid_volume("Snapshot cannot be created while volume is migrating.")
    if row.status == "error":
        raise invalid_volume("The snapshot cannot be created when the volume is in error status.")
    valid = ("available", "in-use") if in_use else ("available",)
    if row.status not in valid:
        raise invalid_volume(
            f"Volume {row.id} status must be {', '.join(valid)}, but current status is: {row.status}."
        )
