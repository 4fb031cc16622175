"""What operators see and do, and messages."""

from typing import Final

from compute.volume.rules.base import ADMIN, MEMBER, READER

RULES: Final = [
    ("volume_extension:services:index", ADMIN),
    ("volume_extension:services:update", ADMIN),
    ("volume:freeze_host", ADMIN),
    ("volume:thaw_host", ADMIN),
    ("volume:failover_host", ADMIN),
    ("volume_extension:hosts", ADMIN),
    ("scheduler_extension:scheduler_stats:get_pools", ADMIN),
    ("volume_extension:capabilities", ADMIN),
    ("clusters:get", ADMIN),
    ("clusters:get_all", ADMIN),
    ("clusters:update", ADMIN),
    ("workers:cleanup", ADMIN),
    ("message:get", READER),
    ("message:get_all", READER),
    ("message:delete", MEMBER),
    ("volume_extension:list_manageable", ADMIN),
    ("volume_extension:volume_manage", ADMIN),
    ("volume_extension:volume_unmanage", ADMIN),
    ("snapshot_extension:list_manageable", ADMIN),
    ("snapshot_extension:snapshot_manage", ADMIN),
    ("snapshot_extension:snapshot_unmanage", ADMIN),
]
