"""Identity's routes. Open ones need no token: they say who asks by other means, or tell no secret."""

from compute.identity.api import (
    auth,
    discovery,
    domains,
    grants,
    groups,
    projects,
    role_assignments,
    roles,
    users,
)
from compute.identity.call import Handler

OPEN_ROUTES: list[tuple[str, str, Handler]] = [
    *discovery.OPEN_ROUTES,
    *auth.OPEN_ROUTES,
    *users.OPEN_ROUTES,
]
ROUTES: list[tuple[str, str, Handler]] = [
    *auth.ROUTES,
    *domains.ROUTES,
    *projects.ROUTES,
    *users.ROUTES,
    *groups.ROUTES,
    *roles.ROUTES,
    *grants.ROUTES,
    *role_assignments.ROUTES,
]
