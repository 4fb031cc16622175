"""Groups of volumes: what may be done with one, and what has become of what was begun.

A group's own work is that of its members. What their rows say decides how it stands, so it is settled
from them by whoever looks, on any host, after a restart as well: nothing is remembered elsewhere.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.volume.models.groups import GroupSnapshot, GroupVolumeType, VolumeGroup
from compute.volume.models.volumes import Snapshot, Volume

UNDER_WAY: Final = ("creating", "deleting")
IDLE: Final = ""
"""The host of a group or group snapshot of which nothing is under way."""
STATUSES: Final = (
    *("error", "available", "creating", "deleting", "deleted", "updating", "in-use"),
    "error_deleting",
)
ADDED_IN: Final = ("available", "in-use")
REMOVED_IN: Final = ("available", "in-use", "error", "error_deleting")
"""Statuses of volumes that may enter and leave a group."""


def no_such_group(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"Group {ident} could not be found.")


def invalid_group(reason: str) -> BadRequest:
    """What upstream says where a group is not in the state for it."""
    return BadRequest(f"Invalid Group: {reason}")


def invalid_volume(reason: str) -> BadRequest:
    """The same of a volume."""
    return BadRequest(f"Invalid volume: {reason}")


def volumes_of(session: Session, group_id: str) -> list[Volume]:
    """A group's volumes, the oldest first."""
    query = select(Volume).where(Volume.group_id == group_id).order_by(Volume.created_us, Volume.id)
    return list(session.scalars(query))


def snapshots_of(session: Session, group_snapshot_id: str) -> list[Snapshot]:
    """The snapshots of a group snapshot, the oldest first."""
    query = select(Snapshot).where(Snapshot.group_snapshot_id == group_snapshot_id)
    return list(session.scalars(query.order_by(Snapshot.created_us, Snapshot.id)))


def types_of(session: Session, group_id: str) -> list[str]:
    """The volume types that a group's volumes may have."""
    query = select(GroupVolumeType.type_id).where(GroupVolumeType.group_id == group_id)
    return list(session.scalars(query.order_by(GroupVolumeType.type_id)))


# -- how it stands --


def standing(status: str, members: Iterable[str]) -> str | None:
    """What has become of a group or group snapshot; None: it is deleted. members: their statuses."""
    found = set(members)
    if status == "creating":
        if any(member.startswith("error") for member in found):
            return "error"
        return "creating" if "creating" in found else "available"
    if status == "deleting":
        if any(member.startswith("error") for member in found):
            return "error"
        return "deleting" if found else None
    return status


def settle(session: Session) -> None:
    """Bring all groups and group snapshots that are under way to where their members are."""
    for snapshot in session.scalars(select(GroupSnapshot).where(GroupSnapshot.host != IDLE)).all():
        _settle(session, snapshot, [row.status for row in snapshots_of(session, snapshot.id)])
    session.flush()
    for group in session.scalars(select(VolumeGroup).where(VolumeGroup.host != IDLE)).all():
        _settle(session, group, [row.status for row in volumes_of(session, group.id)])


def _settle(session: Session, row: VolumeGroup | GroupSnapshot, members: Sequence[str]) -> None:
    status = standing(row.status, members)
    if status is None:
        session.delete(row)
        return
    row.status = status
    if not set(members) & set(UNDER_WAY):
        row.host = IDLE


def are_under_way(session: Session) -> bool:
    """Whether there is anything to settle."""
    groups = select(VolumeGroup.id).where(VolumeGroup.host != IDLE).limit(1)
    snapshots = select(GroupSnapshot.id).where(GroupSnapshot.host != IDLE).limit(1)
    return session.scalar(groups) is not None or session.scalar(snapshots) is not None


# -- what may be done --


def check_deletable(session: Session, group: VolumeGroup, *, with_volumes: bool) -> list[Volume]:
    """The volumes that go with it. Raises BadRequest."""
    if not with_volumes and group.status not in ("available", "error"):
        raise invalid_group(
            f"Group status must be available or error, but current status is: {group.status}"
        )
    query = select(GroupSnapshot.id).where(GroupSnapshot.group_id == group.id).limit(1)
    if session.scalar(query) is not None:
        raise invalid_group("Group has existing snapshots.")
    if _is_source(session, VolumeGroup.source_group_id == group.id):
        raise invalid_group(f"Cannot delete group {group.id}. It is the source of one being created.")
    volumes = volumes_of(session, group.id)
    if volumes and not with_volumes:
        raise invalid_group(
            f"Group {group.id} still contains volumes. The delete-volumes flag is required to delete"
            " it."
        )
    _check_volumes_deletable(session, group, volumes)
    return volumes


def _is_source(session: Session, condition: ColumnElement[bool]) -> bool:
    query = select(VolumeGroup.id).where(condition, VolumeGroup.status == "creating").limit(1)
    return session.scalar(query) is not None


def _check_volumes_deletable(session: Session, group: VolumeGroup, volumes: Sequence[Volume]) -> None:
    if any(volume.attach_status == "attached" for volume in volumes):
        raise invalid_group(f"Volume in group {group.id} is attached. Need to detach first.")
    ids = [volume.id for volume in volumes]
    if session.scalar(select(Snapshot.id).where(Snapshot.volume_id.in_(ids)).limit(1)) is not None:
        raise invalid_group("Volume in group still has dependent snapshots.")


def check_snapshot_deletable(session: Session, row: GroupSnapshot) -> None:
    """Raises BadRequest."""
    used = _is_source(session, VolumeGroup.group_snapshot_id == row.id)
    if row.status not in ("available", "error") or used:
        raise BadRequest(
            "Invalid GroupSnapshot: GroupSnapshot status must be available or error, and no Group can"
            " be currently using it as source for its creation."
        )


def added(session: Session, group: VolumeGroup, ids: Sequence[str]) -> list[Volume]:
    """The volumes that are new to a group. Raises BadRequest for one that may not be added."""
    known = set(types_of(session, group.id))
    found = []
    for ident in ids:
        volume = session.get(Volume, ident)
        what = f"Cannot add volume {ident} to group {group.id} because"
        if volume is None:
            raise invalid_volume(f"{what} volume cannot be found.")
        if volume.group_id == group.id:
            continue
        if volume.group_id is not None:
            raise invalid_volume(f"{what} it is already in group {volume.group_id}.")
        if volume.project_id != group.project_id:
            raise invalid_volume(
                f"Cannot add volume {ident} to group {group.id} as they belong to different projects."
            )
        if volume.volume_type_id not in known:
            raise invalid_volume(
                f"{what} volume type {volume.volume_type_id} is not supported by the group."
            )
        _check_status(what, volume, ADDED_IN)
        found.append(volume)
    return found


def removed(session: Session, group: VolumeGroup, ids: Sequence[str]) -> list[Volume]:
    """The volumes that leave a group. Raises BadRequest."""
    members = {volume.id: volume for volume in volumes_of(session, group.id)}
    for ident in ids:
        what = f"Cannot remove volume {ident} from group {group.id} because"
        if ident not in members:
            raise invalid_volume(f"{what} it is not in the group.")
        _check_status(what, members[ident], REMOVED_IN)
    return [members[ident] for ident in ids]


def _check_status(what: str, volume: Volume, valid: tuple[str, ...]) -> None:
    if volume.status not in valid:
        raise invalid_volume(
            f"{what} volume is in an invalid state: {volume.status}. Valid states are: {valid}."
        )
