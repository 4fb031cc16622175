"""The room's tables. Importing this package registers all of them."""

from compute.identity.models import access, catalog, people, projects, roles, tokens

__all__ = ["access", "catalog", "people", "projects", "roles", "tokens"]
