"""The room's tables. Importing this package registers all of them."""

from compute.volume.models import backups, groups, quotas, services, types, volumes

__all__ = ["backups", "groups", "quotas", "services", "types", "volumes"]
