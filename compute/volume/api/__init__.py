"""The requests of the room: routes with what answers them."""

from typing import Any, Final

from compute.volume.api import qos, quotas, type_encryption, types

ROUTES: Final[list[tuple[Any, ...]]] = [
    *types.ROUTES,
    *type_encryption.ROUTES,
    *qos.ROUTES,
    *quotas.ROUTES,
]
