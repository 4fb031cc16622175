"""The add-on's own user at the object store, for what its rooms keep there.

It is the user that the store itself asks identity with: of the project `service`, whose account holds
images, volumes and backups. The account's URL is the catalog's.
"""

import asyncio
from typing import Final

from sqlalchemy import select

from compute.database.engine import DatabaseAway
from compute.identity.bootstrap import DEFAULT_DOMAIN, SERVICE_PROJECT, SERVICE_USER
from compute.identity.call import Identity
from compute.identity.instants import US
from compute.identity.models.people import User
from compute.identity.tokens.issue import issue
from compute.identity.tokens.methods import Proof
from compute.objects.client import Place
from compute.objects.errors import StoreAway
from compute.server.errors import ApiError

RENEW_BEFORE_S: Final = 60


class OwnLogin:
    """Makes the add-on's tokens and remembers the last one."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._lock = asyncio.Lock()
        self._place: Place | None = None
        self._until_us = 0

    async def place(self, *, renew: bool = False) -> Place:
        """The account and a token for it. Raises StoreAway."""
        known = self._place
        if known is not None and not renew and self._identity.now_us() < self._until_us:
            return known
        async with self._lock:
            if self._place is not known and self._place is not None:
                return self._place  # someone was faster
            try:
                self._place = await self._identity.database.run(self._issued)
            except (DatabaseAway, ApiError) as error:
                raise StoreAway(f"no token for the object store: {error}") from error
            return self._place

    def _issued(self) -> Place:
        identity = self._identity
        with identity.database.read() as session:
            query = select(User.id).where(User.name == SERVICE_USER, User.domain_id == DEFAULT_DOMAIN)
            user_id = session.scalars(query).one()
        scope = {"project": {"name": SERVICE_PROJECT, "domain": {"id": DEFAULT_DOMAIN}}}
        issued = issue(identity, [Proof(user_id)], ["password"], scope)
        self._until_us = identity.now_us() + (identity.settings.token_s - RENEW_BEFORE_S) * US
        for service in issued.body["catalog"]:
            if service["type"] == "object-store":
                for endpoint in service["endpoints"]:
                    if endpoint["interface"] == "internal":
                        return Place(endpoint["url"].rstrip("/"), issued.token)
        raise StoreAway("the catalog names no object store")
