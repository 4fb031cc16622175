"""Who has a volume: the states of attachments, and what they make of the volume's."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import NotFound
from compute.volume.models.attachments import Attachment
from compute.volume.models.volumes import Volume

NOT_EXPORTED: Final = ""
WANTED: Final = "wanted"
THERE: Final = "there"
FAILED: Final = "failed"
UNWANTED: Final = "unwanted"
HELD: Final = ("reserved", "attaching", "in-use", "detaching")
"""Statuses of a volume that its attachments decide."""


def no_such_attachment(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Volume attachment could not be found with filter: attachment_id = {ident}.")


def attachments_of(session: Session, volume_id: str) -> list[Attachment]:
    """Those that the API shows, the oldest first."""
    query = select(Attachment).where(Attachment.volume_id == volume_id, Attachment.is_shown)
    return list(session.scalars(query.order_by(Attachment.created_us, Attachment.id)))


def exports_of(session: Session, volume_id: str) -> list[Attachment]:
    """Those for which something is exported, or about to be."""
    query = select(Attachment).where(Attachment.volume_id == volume_id)
    return list(session.scalars(query.where(Attachment.export != NOT_EXPORTED)))


def is_read_only(volume: Volume, mode: str) -> bool:
    """Whether it is exported for reading alone."""
    return mode == "ro" or volume.admin_meta.get("readonly") == "True"


def settle(session: Session, volume: Volume) -> None:
    """Give a volume the status that its attachments make, now or when what is under way has ended."""
    session.flush()
    found = {row.status for row in attachments_of(session, volume.id)}
    attached = "attached" in found
    if attached:
        status = "in-use"
    elif found & {"attaching", "error_attaching", "detaching"}:
        status = "attaching"
    else:
        status = "reserved" if found else "available"
    if volume.status in HELD:
        volume.status = status
    elif volume.previous_status in HELD:
        volume.previous_status = status
    volume.attach_status = "attached" if attached else "detached"


def end(session: Session, row: Attachment, volume: Volume) -> bool:
    """Begin to end an attachment. Whether its volume's host has an export to end first."""
    if row.export == NOT_EXPORTED:
        session.delete(row)
        settle(session, volume)
        return False
    row.export, row.status = UNWANTED, "detaching"
    return True
