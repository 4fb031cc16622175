"""What may be done with a backup in which state, and what its volume and snapshot are meanwhile."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.backup.vault import Copy
from compute.server.errors import BadRequest, NotFound
from compute.volume.models.backups import Backup
from compute.volume.models.volumes import Snapshot, Volume


def no_such_backup(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Backup {ident} could not be found.")


def invalid_backup(reason: str) -> BadRequest:
    """As upstream words it."""
    return BadRequest(f"Invalid backup: {reason}")


def invalid_volume(reason: str) -> BadRequest:
    """As upstream words it."""
    return BadRequest(f"Invalid volume: {reason}")


def has_dependents(session: Session, ident: str) -> bool:
    """Whether incremental backups add to it."""
    return session.scalar(select(Backup.id).where(Backup.parent_id == ident).limit(1)) is not None


def newest(session: Session, volume: Volume, before_us: int | None) -> Backup:
    """What an incremental backup adds to. before_us: when its snapshot was taken. Raises BadRequest."""
    query = select(Backup).where(
        Backup.volume_id == volume.id,
        Backup.project_id == volume.project_id,
        Backup.status.in_(("available", "restoring")),
        Backup.copy_id == Backup.id,
        Backup.is_import.is_(False),
    )
    if before_us is not None:
        query = query.where(Backup.data_us < before_us)
    found = session.scalars(query.order_by(Backup.data_us.desc()).limit(1)).first()
    if found is None:
        raise invalid_backup("No backups available to do an incremental backup.")
    return found


def check_source(volume: Volume, snapshot: Snapshot | None, force: bool) -> None:
    """Whether a volume or its snapshot can be backed up now. Raises BadRequest."""
    if snapshot is not None:
        if snapshot.status != "available":
            raise BadRequest(
                "Invalid snapshot: Snapshot to be backed up must be available, but the current status"
                f' is "{snapshot.status}".'
            )
        return
    if volume.status not in ("available", "in-use"):
        raise invalid_volume(
            "Volume to be backed up must be available or in-use, but the current status is"
            f' "{volume.status}".'
        )
    if volume.status == "in-use" and not force:
        raise invalid_volume("Backing up an in-use volume must use the force flag.")


def occupy(volume: Volume, snapshot: Snapshot | None) -> None:
    """They are being backed up."""
    if snapshot is not None:
        snapshot.status = "backing-up"
    else:
        volume.previous_status, volume.status = volume.status, "backing-up"


def begin_restore(row: Backup, volume: Volume, *, is_new: bool) -> None:
    """The volume's host is to restore the backup to it. is_new: it is to be made first."""
    volume.status = "restoring-backup"
    row.status, row.host = "restoring", str(volume.host)
    row.restore_volume_id, row.restore_new = volume.id, is_new


def release(session: Session, row: Backup, *, restored: bool = False) -> None:
    """Give back what a backup under way holds, unless someone has changed its state meanwhile.

    restored: the volume has the backup's bytes.
    """
    if row.status == "creating":
        snapshot = session.get(Snapshot, row.snapshot_id) if row.snapshot_id else None
        if snapshot is not None and snapshot.status == "backing-up":
            snapshot.status = "available"
        volume = session.get(Volume, row.volume_id)
        if volume is not None and snapshot is None and volume.status == "backing-up":
            volume.status, volume.previous_status = volume.previous_status or "available", "backing-up"
    volume = session.get(Volume, row.restore_volume_id) if row.restore_volume_id else None
    is_restoring = row.status == "restoring"
    if is_restoring and volume is not None and volume.status == "restoring-backup":
        failed = "error" if volume.previous_status == "creating" else "error_restoring"
        volume.status = "available" if restored else failed
    row.restore_volume_id, row.restore_new = None, False


def copy_of(row: Backup) -> Copy:
    """Where its bytes are. Raises BadRequest where it has none."""
    if row.store is None or row.copy_id is None or row.sealed_key is None:
        raise invalid_backup("The backup holds no data.")
    return Copy(row.store, row.copy_id, bytes(row.sealed_key))
