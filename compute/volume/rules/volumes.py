"""Volumes and snapshots."""

from typing import Final

from compute.volume.rules.base import ADMIN, MEMBER, READER


def _all(prefix: str, check: str, *names: str) -> list[tuple[str, str]]:
    return [(f"{prefix}:{name}", check) for name in names]


RULES: Final = [
    *_all("volume", MEMBER, "create", "create_from_image", "update", "delete", "multiattach"),
    *_all("volume", READER, "get", "get_all", "get_snapshot", "get_all_snapshots"),
    *_all("volume", MEMBER, "create_snapshot", "delete_snapshot", "update_snapshot"),
    *_all("volume", MEMBER, "extend", "extend_attached_volume", "revert_to_snapshot", "retype"),
    *_all("volume", MEMBER, "update_readonly_flag", "reimage", "reimage_reserved"),
    ("volume:force_delete", ADMIN),
    *_all("volume_extension", ADMIN, "volume_host_attribute", "volume_mig_status_attribute"),
    *_all("volume_extension", READER, "volume_tenant_attribute", "volume_encryption_metadata"),
    *_all("volume_extension:volume_admin_actions", ADMIN, "reset_status", "force_delete"),
    *_all("volume_extension:volume_admin_actions", ADMIN, "migrate_volume"),
    *_all("volume_extension:volume_admin_actions", ADMIN, "migrate_volume_completion"),
    *_all("volume_extension:volume_admin_actions", ADMIN, "extend_volume_completion"),
    *_all("volume_extension:volume_actions", MEMBER, "upload_image"),
    ("volume_extension:volume_actions:upload_public", ADMIN),
    *_all("volume", READER, "get_volume_metadata", "get_snapshot_metadata"),
    *_all("volume", MEMBER, "create_volume_metadata", "update_volume_metadata"),
    *_all("volume", MEMBER, "delete_volume_metadata", "update_snapshot_metadata"),
    *_all("volume", MEMBER, "delete_snapshot_metadata"),
    ("volume:update_volume_admin_metadata", ADMIN),
    *_all("volume_extension:volume_image_metadata", MEMBER, "set", "remove"),
    ("volume_extension:volume_image_metadata:show", READER),
    ("volume_extension:extended_snapshot_attributes", READER),
    ("snapshot_extension:snapshot_actions:update_snapshot_status", MEMBER),
    *_all("volume_extension:snapshot_admin_actions", ADMIN, "reset_status", "force_delete"),
]
