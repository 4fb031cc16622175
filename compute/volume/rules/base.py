"""What the other rules are made of."""

from typing import Final

ADMIN: Final = "rule:admin_api"
READER: Final = "rule:xena_system_admin_or_project_reader"
MEMBER: Final = "rule:xena_system_admin_or_project_member"

RULES: Final = [
    ("context_is_admin", "role:admin"),
    ("admin_api", "is_admin:True or (role:admin and is_admin_project:True)"),
    (
        "admin_or_owner",
        "is_admin:True or (role:admin and is_admin_project:True) or project_id:%(project_id)s",
    ),
    ("system_or_domain_or_project_admin", "role:admin"),
    (
        "xena_system_admin_or_project_reader",
        "(role:admin) or (role:reader and project_id:%(project_id)s)",
    ),
    (
        "xena_system_admin_or_project_member",
        "(role:admin) or (role:member and project_id:%(project_id)s)",
    ),
]
