"""One request to the room, with who makes it: what the functions in `api/` are given.

A handler that is a plain function runs on a database thread, a coroutine function on the event loop.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.access import Context
from compute.policy.enforcer import Enforcer
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import Answer, Request
from compute.server.schema import Schema
from compute.site import Site

ROOM: Final = "volume"
MINOR_MAX: Final = 71
"""The newest minor version of v3 that is served."""


class Call:
    """A request on its way through a handler. path: what stood for the names in its route.

    minor: of the API's version that the client asked for, 3.<minor>.
    """

    def __init__(
        self,
        site: Site,
        enforcer: Enforcer,
        request: Request,
        path: Mapping[str, str],
        context: Context,
        minor: int,
    ) -> None:
        self.site = site
        self.request = request
        self.path = path
        self.context = context
        self.minor = minor
        self._enforcer = enforcer

    def read(self) -> AbstractContextManager[Session]:
        """A session on one snapshot."""
        return self.site.database.read()

    def write(self) -> AbstractContextManager[Session]:
        """A session that is alone in the room."""
        return self.site.database.write(ROOM, changes=False)

    def allowed(self, rule: str, **target: Any) -> bool:
        """Whether the caller may. target: whose it is, the caller's own where nothing is said."""
        context = self.context
        facts = {"project_id": context.project_id, "user_id": context.user_id, **target}
        credentials = {"is_admin": context.is_admin, "is_admin_project": True, **context.credentials}
        return self._enforcer.allows(rule, facts, credentials)

    def enforce(self, rule: str, **target: Any) -> None:
        """Raises Forbidden where the caller may not."""
        if not self.allowed(rule, **target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")

    def body(self, schema: Schema) -> dict[str, Any]:
        """The body. Raises BadRequest."""
        if not self.request.body:
            raise BadRequest("Missing required element in request body.")
        body = self.request.json()
        schema.check(body)
        return body

    def query(self, name: str) -> str | None:
        """A parameter's value."""
        value: str | None = self.request.query.get(name)
        return value

    def links(self, collection: str, ident: str) -> list[dict[str, str]]:
        """A resource's links to itself, with the project where the request had it."""
        project = self.path.get("project_id")
        rest = f"{project}/{collection}/{ident}" if project else f"{collection}/{ident}"
        base = self.request.base
        return [
            {"rel": "self", "href": f"{base}/v3/{rest}"},
            {"rel": "bookmark", "href": f"{base}/{rest}"},
        ]


Handler = Callable[[Call], Answer] | Callable[[Call], Awaitable[Answer]]
