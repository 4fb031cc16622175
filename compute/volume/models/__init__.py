"""The room's tables. Importing this package registers all of them."""

from compute.volume.models import groups, quotas, services, types, volumes

__all__ = ["groups", "quotas", "services", "types", "volumes"]
