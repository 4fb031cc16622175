"""Attachments and transfers."""

from typing import Final

from compute.volume.rules.base import ADMIN, MEMBER, READER

ACTIONS: Final = "volume_extension:volume_actions"

RULES: Final = [
    ("volume:attachment_create", MEMBER),
    ("volume:attachment_update", MEMBER),
    ("volume:attachment_delete", MEMBER),
    ("volume:attachment_complete", MEMBER),
    ("volume:multiattach_bootable_volume", MEMBER),
    (f"{ACTIONS}:attach", MEMBER),
    (f"{ACTIONS}:detach", MEMBER),
    (f"{ACTIONS}:reserve", MEMBER),
    (f"{ACTIONS}:unreserve", MEMBER),
    (f"{ACTIONS}:begin_detaching", MEMBER),
    (f"{ACTIONS}:roll_detaching", MEMBER),
    (f"{ACTIONS}:initialize_connection", MEMBER),
    (f"{ACTIONS}:terminate_connection", MEMBER),
    ("volume_extension:volume_admin_actions:force_detach", ADMIN),
    ("volume:create_transfer", MEMBER),
    ("volume:accept_transfer", MEMBER),
    ("volume:delete_transfer", MEMBER),
    ("volume:get_transfer", READER),
    ("volume:get_all_transfers", READER),
]
