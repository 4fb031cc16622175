"""A volume as the API writes it."""

from typing import Any, Final

from sqlalchemy.orm import Session

from compute.volume.attachments import attachments_of
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.models.attachments import Attachment
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Volume

GROUP_SINCE: Final = 13
PROVIDER_SINCE: Final = 21
TARGETS_SINCE: Final = 48
CLUSTER_SINCE: Final = 61
TYPE_ID_SINCE: Final = 63
QUOTA_SINCE: Final = 65


def summary(call: Call, row: Volume) -> dict[str, Any]:
    """In short lists."""
    return {"id": row.id, "name": row.name, "links": call.links("volumes", row.id)}


def detail(call: Call, session: Session, row: Volume) -> dict[str, Any]:
    """All but what only a request for the volume itself shows."""
    view = summary(call, row) | {
        "status": row.status,
        "size": row.size_gib,
        "availability_zone": row.zone,
        "created_at": written(row.created_us),
        "updated_at": written(row.updated_us),
        "description": row.description,
        "volume_type": _type_name(session, row),
        "snapshot_id": row.snapshot_id,
        "source_volid": row.source_volume_id,
        "metadata": {**row.meta, **row.admin_meta},
        "user_id": row.user_id,
        "bootable": str(row.is_bootable).lower(),
        "encrypted": row.is_encrypted,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": row.is_multiattach,
        "attachments": [
            _attachment(call, one)
            for one in attachments_of(session, row.id)
            if one.status == "attached"
        ],
    }
    if call.context.is_admin:
        view["migration_status"] = row.migration_status
    return view | _newer(call, row)


def _attachment(call: Call, row: Attachment) -> dict[str, Any]:
    return {
        "id": row.volume_id,
        "attachment_id": row.id,
        "volume_id": row.volume_id,
        "server_id": row.instance_id,
        "host_name": row.host_name if call.context.is_admin else None,
        "device": row.mountpoint,
        "attached_at": written(row.attached_us),
    }


def _type_name(session: Session, row: Volume) -> str | None:
    kind = session.get(VolumeType, row.volume_type_id) if row.volume_type_id else None
    return kind.name if kind else None


def _newer(call: Call, row: Volume) -> dict[str, Any]:
    view: dict[str, Any] = {}
    if call.minor >= GROUP_SINCE:
        view["group_id"] = row.group_id
    if call.minor >= PROVIDER_SINCE and call.context.is_admin:
        view["provider_id"] = None
    if call.minor >= TARGETS_SINCE:
        view |= {"shared_targets": False, "service_uuid": None}
    if call.minor >= CLUSTER_SINCE and call.context.is_admin:
        view["cluster_name"] = None
    if call.minor >= TYPE_ID_SINCE:
        view["volume_type_id"] = row.volume_type_id
    if call.minor >= QUOTA_SINCE:
        view["consumes_quota"] = row.consumes_quota
    return view


def extended(call: Call, session: Session, row: Volume) -> dict[str, Any]:
    """What GET shows besides, each part to those who may see it."""
    view = detail(call, session, row)
    mine = {"project_id": row.project_id}
    if call.allowed("volume_extension:volume_host_attribute", **mine):
        pool = f"{row.host}@{row.backend}#{row.backend}" if row.host else None
        view["os-vol-host-attr:host"] = pool
    if call.allowed("volume_extension:volume_tenant_attribute", **mine):
        view["os-vol-tenant-attr:tenant_id"] = row.project_id
    if call.allowed("volume_extension:volume_mig_status_attribute", **mine):
        view["os-vol-mig-status-attr:migstat"] = row.migration_status
        view["os-vol-mig-status-attr:name_id"] = None
    if row.image_meta:
        view["volume_image_metadata"] = dict(row.image_meta)
    return view
