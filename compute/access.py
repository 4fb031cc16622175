"""Who makes a request, as every room but identity sees it; and the door by which they ask identity."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from runtime.access_rules import Asked


@dataclasses.dataclass(frozen=True)
class Context:
    """A validated token. Fields of a scope that it does not have are None.

    credentials: what policy rules see of the caller. system_scope: "all" or None.
    """

    token: str
    user_id: str
    user_name: str
    user_domain_id: str
    project_id: str | None
    project_name: str | None
    project_domain_id: str | None
    domain_id: str | None
    system_scope: str | None
    roles: frozenset[str]
    credentials: Mapping[str, Any]

    @property
    def is_admin(self) -> bool:
        """Whether the caller has the administrator's role, in whatever scope."""
        return "admin" in self.roles

    def __repr__(self) -> str:  # the token is a secret
        return f"Context(user_id={self.user_id!r}, project_id={self.project_id!r})"


class Authenticator(Protocol):
    """Identity, as other rooms need it."""

    async def context(self, token: str, asked: Asked | None) -> Context | None:
        """Who has this token; None for one that is worth nothing, or not for the request that is asked.

        asked: None where it is for none, which a token with access rules is never good for. Raises
        DatabaseAway.
        """

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project. Raises DatabaseAway."""
