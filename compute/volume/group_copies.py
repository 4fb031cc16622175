"""New groups from old ones, and snapshots of groups: the rows of what is to be made for them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.volume.call import Call
from compute.volume.groups import invalid_group, no_such_group, snapshots_of, types_of, volumes_of
from compute.volume.models.groups import GroupSnapshot, GroupVolumeType, VolumeGroup
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import check_not_frozen
from compute.volume.quotas import PER_VOLUME, reserve


def no_such_snapshot(ident: str) -> NotFound:
    """As upstream words it."""
    return NotFound(f"GroupSnapshot {ident} could not be found.")


def copy_group(
    call: Call, session: Session, row: VolumeGroup, group_id: str | None, snapshot_id: str | None
) -> None:
    """Add a group whose volumes are to be made of one of the two. Raises NotFound, BadRequest."""
    if snapshot_id is not None:
        source = _snapshot(call, session, snapshot_id)
        pairs = _of_snapshot(session, source)
        old = session.get_one(VolumeGroup, source.group_id)
    else:
        old = _group(call, session, str(group_id))
        pairs = [(volume, None) for volume in volumes_of(session, old.id)]
        if not pairs:
            raise invalid_group("Source Group is empty. No group will be created.")
    row.group_type_id, row.status, row.host = old.group_type_id, "creating", call.site.host
    row.group_snapshot_id, row.source_group_id = snapshot_id, group_id
    reserve(session, row.project_id, {"groups": 1})
    session.add(row)
    session.flush()
    kinds = types_of(session, old.id)
    session.add_all(GroupVolumeType(group_id=row.id, type_id=kind) for kind in kinds)
    for volume, snapshot in pairs:
        _add_volume(call, session, row, volume, snapshot)


def _group(call: Call, session: Session, ident: str) -> VolumeGroup:
    row = session.get(VolumeGroup, ident)
    if row is None or not (call.context.is_admin or row.project_id == call.context.project_id):
        raise no_such_group(ident)
    if row.status not in ("available", "error"):
        raise invalid_group(
            f"Group status must be available or error, but current status is: {row.status}"
        )
    return row


def _snapshot(call: Call, session: Session, ident: str) -> GroupSnapshot:
    row = session.get(GroupSnapshot, ident)
    if row is None or not (call.context.is_admin or row.project_id == call.context.project_id):
        raise no_such_snapshot(ident)
    return row


def _of_snapshot(session: Session, source: GroupSnapshot) -> list[tuple[Volume, Snapshot | None]]:
    snapshots: Sequence[Snapshot] = snapshots_of(session, source.id)
    if not snapshots:
        raise invalid_group("Group snapshot is empty. No group will be created.")
    if any(snapshot.status != "available" for snapshot in snapshots):
        raise BadRequest(
            "Invalid snapshot: Originating snapshot status must be one of 'available' values"
        )
    return [(session.get_one(Volume, snapshot.volume_id), snapshot) for snapshot in snapshots]


def _add_volume(
    call: Call, session: Session, group: VolumeGroup, old: Volume, snapshot: Snapshot | None
) -> None:
    """A volume to be made where the old one is."""
    check_not_frozen(session, old.host, old.backend)
    if snapshot is None and old.status not in ("available", "in-use"):
        raise BadRequest(f"Invalid volume: volume {old.id} is {old.status}.")
    size = snapshot.size_gib if snapshot else old.size_gib
    deltas = {"volumes": 1, "gigabytes": size, PER_VOLUME: size}
    reserve(session, group.project_id, deltas, old.volume_type_id)
    session.add(
        Volume(
            id=call.site.new_uuid(),
            project_id=group.project_id,
            user_id=group.user_id,
            size_gib=size,
            status="creating",
            attach_status="detached",
            volume_type_id=old.volume_type_id,
            zone=old.zone,
            host=old.host,
            backend=old.backend,
            is_bootable=old.is_bootable,
            is_encrypted=old.is_encrypted,
            is_multiattach=old.is_multiattach,
            snapshot_id=snapshot.id if snapshot else None,
            source_volume_id=None if snapshot else old.id,
            image_id=old.image_id,
            image_meta=dict(old.image_meta),
            group_id=group.id,
            created_us=call.site.now_us(),
        )
    )
    session.flush()


def add_snapshots(call: Call, session: Session, row: GroupSnapshot) -> None:
    """Add snapshots of all volumes of a group, to be made. Raises BadRequest, OverLimit."""
    for volume in volumes_of(session, row.group_id):
        check_not_frozen(session, volume.host, volume.backend)
        if volume.status not in ("available", "in-use"):
            raise BadRequest(
                f"Invalid volume: Volume {volume.id} status must be available or in-use, but current"
                f" status is: {volume.status}."
            )
        deltas = {"snapshots": 1, "gigabytes": volume.size_gib}
        reserve(session, volume.project_id, deltas, volume.volume_type_id)
        session.add(
            Snapshot(
                id=call.site.new_uuid(),
                volume_id=volume.id,
                volume_type_id=volume.volume_type_id,
                project_id=volume.project_id,
                user_id=row.user_id,
                name=row.name,
                description=row.description,
                size_gib=volume.size_gib,
                status="creating",
                group_snapshot_id=row.id,
                created_us=call.site.now_us(),
            )
        )
        session.flush()
