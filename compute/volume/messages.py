"""What users are told about requests that came to nothing: upstream's codes and its texts.

A message tells the action that failed and why, by numbers that clients know. It goes after 30 days.
"""

from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from compute.site import Site
from compute.volume.models.services import Message

LIFE_US: Final = 2_592_000 * 1_000_000

ACTIONS: Final = {
    "001": "schedule allocate volume",
    "002": "attach volume",
    "003": "copy volume to image",
    "004": "update attachment",
    "005": "copy image to volume",
    "006": "unmanage volume",
    "007": "extend volume",
    "008": "create volume from backend storage",
    "009": "create snapshot",
    "010": "delete snapshot",
    "011": "update snapshot",
    "012": "update snapshot metadata",
    "013": "create backup",
    "014": "delete backup",
    "015": "restore backup",
    "016": "reimage volume",
}
DETAILS: Final = {
    "001": "An unknown error occurred.",
    "002": "Driver is not initialized at present.",
    "003": "Could not find any available weighted backend.",
    "004": "Failed to upload volume to image at backend.",
    "005": "Volume's attach mode is invalid.",
    "006": "Not enough quota resource for operation.",
    "007": "Image used for creating volume exceeds available space.",
    "008": "Unmanaging encrypted volumes is not supported.",
    "009": "Compute service failed to extend volume.",
    "010": "Volume Driver failed to extend volume.",
    "011": "Image signature verification failed.",
    "012": "Driver failed to create the volume.",
    "013": "Snapshot failed to create.",
    "014": "Volume snapshot update metadata failed.",
    "015": "Snapshot is busy.",
    "016": "Snapshot failed to delete.",
    "017": "Backup status is invalid.",
    "018": "Backup service is down.",
    "019": "Failed to get backup device from the volume service.",
    "020": "Backup driver failed to create backup.",
    "021": "Failed to attach volume.",
    "022": "Failed to detach volume.",
    "023": "Cleanup of temporary volume/snapshot failed.",
    "024": "Backup failed to schedule. Service not found for creating backup.",
    "025": "Backup driver failed to delete backup.",
    "026": "Backup driver failed to restore backup.",
    "027": "Volume status is invalid.",
    "028": "Compute service failed to reimage volume.",
    "029": "The image disk format must be the same as the volume format for the volume type you are"
    " requesting.",
    "030": "Incremental backup not possible, forcing full backup.",
}


def add_message(
    session: Session,
    site: Site,
    project_id: str,
    resource: str,
    resource_id: str,
    action: str,
    detail: str,
    request_id: str | None = None,
) -> None:
    """Tell a project's users. resource: VOLUME, VOLUME_SNAPSHOT or VOLUME_BACKUP."""
    assert action in ACTIONS, action
    assert detail in DETAILS, detail
    now = site.now_us()
    session.add(
        Message(
            id=site.new_uuid(),
            project_id=project_id,
            request_id=request_id,
            resource_type=resource,
            resource_id=resource_id,
            event_id=f"VOLUME_{resource}_{action}_{detail}",
            action_id=action,
            detail_id=detail,
            level="ERROR",
            created_us=now,
            expires_us=now + LIFE_US,
        )
    )


def text_of(message: Message) -> str:
    """What the user reads."""
    action = ACTIONS.get(message.action_id, "unknown action")
    return f"{action}:{DETAILS.get(message.detail_id, DETAILS['001'])}"


def forget_old(session: Session, now_us: int) -> None:
    """Remove what has expired."""
    session.execute(delete(Message).where(Message.expires_us < now_us))
