"""The requests of the room: routes with what answers them."""

from typing import Any, Final

from compute.volume.api import (
    backups,
    default_types,
    extensions,
    filters,
    group_types,
    groups,
    hosts,
    messages,
    qos,
    quotas,
    services,
    transfers,
    type_access,
    type_encryption,
    type_specs,
    types,
    volume_lists,
    volume_metadata,
    workers,
)

ROUTES: Final[list[tuple[Any, ...]]] = [
    *volume_lists.ROUTES,
    *volume_metadata.ROUTES,
    *backups.ROUTES,
    *types.ROUTES,
    *type_specs.ROUTES,
    *type_access.ROUTES,
    *type_encryption.ROUTES,
    *default_types.ROUTES,
    *group_types.ROUTES,
    *groups.ROUTES,
    *qos.ROUTES,
    *quotas.ROUTES,
    *services.ROUTES,
    *hosts.ROUTES,
    *messages.ROUTES,
    *filters.ROUTES,
    *extensions.ROUTES,
    *transfers.ROUTES,
    *workers.ROUTES,
]
