"""Rules about backups."""

from typing import Final

from compute.volume.rules.base import ADMIN, MEMBER, READER

RULES: Final = [
    ("backup:get_all", READER),
    ("backup:backup_project_attribute", ADMIN),
    ("backup:create", MEMBER),
    ("backup:get", READER),
    ("backup:update", MEMBER),
    ("backup:delete", MEMBER),
    ("backup:restore", MEMBER),
    ("backup:backup-import", ADMIN),
    ("backup:export-import", ADMIN),
    ("volume_extension:backup_admin_actions:reset_status", ADMIN),
    ("volume_extension:backup_admin_actions:force_delete", ADMIN),
]
