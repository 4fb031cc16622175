"""The default rules of volumes, by upstream's names: which operators' files override."""

from typing import Final

from compute.policy.enforcer import Rule
from compute.volume.rules import attachments, backups, base, operators, types, volumes

RULES: Final = (
    *(Rule(*row) for row in base.RULES),
    *(Rule(*row) for row in types.RULES),
    *(Rule(*row) for row in operators.RULES),
    *(Rule(*row) for row in backups.RULES),
    *(Rule(*row) for row in volumes.RULES),
    *(Rule(*row) for row in attachments.RULES),
)
