"""The requests of the room: routes with what answers them."""

from typing import Any, Final

from compute.volume.api import (
    default_types,
    extensions,
    filters,
    group_types,
    hosts,
    manage,
    messages,
    qos,
    quotas,
    services,
    type_encryption,
    types,
    workers,
)

ROUTES: Final[list[tuple[Any, ...]]] = [
    *types.ROUTES,
    *type_encryption.ROUTES,
    *default_types.ROUTES,
    *group_types.ROUTES,
    *qos.ROUTES,
    *quotas.ROUTES,
    *services.ROUTES,
    *hosts.ROUTES,
    *messages.ROUTES,
    *filters.ROUTES,
    *extensions.ROUTES,
    *manage.ROUTES,
    *workers.ROUTES,
]
