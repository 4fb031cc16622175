"""Types, QoS, quotas, groups' types."""

from typing import Final

from compute.volume.rules.base import ADMIN, MEMBER, READER


def _all(prefix: str, check: str, *names: str) -> list[tuple[str, str]]:
    return [(f"{prefix}:{name}", check) for name in names]


RULES: Final = [
    *_all("volume_extension", ADMIN, "type_create", "type_update", "type_delete"),
    *_all("volume_extension", READER, "type_get", "type_get_all", "access_types_extra_specs"),
    ("volume_extension:access_types_qos_specs_id", ADMIN),
    *_all("volume_extension:volume_type_encryption", ADMIN, "create", "get", "update", "delete"),
    *_all("volume_extension:types_extra_specs", READER, "index", "show"),
    *_all("volume_extension:types_extra_specs", ADMIN, "create", "update", "delete", "read_sensitive"),
    ("volume_extension:volume_type_access", MEMBER),
    *_all(
        *("volume_extension:volume_type_access", ADMIN),
        *("addProjectAccess", "removeProjectAccess", "get_all_for_type"),
    ),
    *_all("volume_extension:qos_specs_manage", ADMIN, "create", "get", "get_all", "update", "delete"),
    *_all("volume_extension", ADMIN, "default_set_or_update", "default_get", "default_get_all"),
    ("volume_extension:default_unset", ADMIN),
    ("volume_extension:quotas:show", READER),
    *_all("volume_extension:quotas", ADMIN, "update", "delete"),
    *_all("volume_extension:quota_classes", ADMIN, "get", "update"),
    ("limits_extension:used_limits", READER),
    *_all("group:group_types", ADMIN, "create", "update", "delete"),
    ("group:access_group_types_specs", ADMIN),
    *_all("group:group_types_specs", ADMIN, "get", "get_all", "create", "update", "delete"),
    *_all("group", READER, "get", "get_all", "get_group_snapshot", "get_all_group_snapshots"),
    *_all("group", MEMBER, "create", "update", "delete"),
    *_all("group", MEMBER, "enable_replication", "disable_replication"),
    *_all("group", MEMBER, "failover_replication", "list_replication_targets"),
    *_all("group", MEMBER, "create_group_snapshot", "delete_group_snapshot", "update_group_snapshot"),
    *_all("group", ADMIN, "reset_status", "reset_group_snapshot_status"),
    *_all("group", ADMIN, "group_project_attribute", "group_snapshot_project_attribute"),
]
