"""/v3/resource_filters: what lists can be filtered by."""

from collections.abc import Mapping
from typing import Final

from compute.server.request import Answer, json_answer
from compute.volume.call import Call

FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "volume": (
        *("name", "status", "metadata", "bootable", "migration_status", "availability_zone"),
        *("group_id", "size", "created_at", "updated_at", "consumes_quota"),
    ),
    "backup": ("name", "status", "volume_id"),
    "snapshot": ("name", "status", "volume_id", "metadata", "availability_zone", "consumes_quota"),
    "group": ("name",),
    "group_snapshot": ("name", "status", "group_id"),
    "attachment": ("volume_id", "status", "instance_id", "attach_status"),
    "message": ("resource_uuid", "resource_type", "event_id", "request_id", "message_level"),
    "pool": ("name", "volume_type"),
    "volume_type": ("is_public", "extra_specs"),
}
"""Upstream's, by resource. Administrators may filter by more."""


def list_filters(call: Call) -> Answer:
    """GET; `resource` for those of one."""
    asked = call.query("resource")
    found = {name: names for name, names in FILTERS.items() if asked in (None, "", name)}
    rows = [{"resource": name, "filters": list(names)} for name, names in found.items()]
    return json_answer({"resource_filters": rows})


ROUTES: Final = [("GET", "/v3/resource_filters", list_filters, 33)]
