"""Identity's routes. Open ones need no token: they say who asks by other means, or tell no secret."""

from compute.identity.api import (
    absent,
    application_credentials,
    auth,
    catalog,
    credentials,
    discovery,
    domain_config,
    domains,
    endpoint_filter,
    grants,
    groups,
    limits,
    oauth1,
    policies,
    projects,
    role_assignments,
    roles,
    trusts,
    users,
)
from compute.identity.call import Handler

OPEN_ROUTES: list[tuple[str, str, Handler]] = [
    *discovery.OPEN_ROUTES,
    *auth.OPEN_ROUTES,
    *users.OPEN_ROUTES,
    *oauth1.OPEN_ROUTES,
    *absent.OPEN_ROUTES,
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
    *application_credentials.ROUTES,
    *catalog.ROUTES,
    *credentials.ROUTES,
    *domain_config.ROUTES,
    *endpoint_filter.ROUTES,
    *limits.ROUTES,
    *oauth1.ROUTES,
    *policies.ROUTES,
    *trusts.ROUTES,
]
