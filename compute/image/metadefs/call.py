"""One request to metadefs: who makes it, what it may, and the namespace that it is about."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.access import Context
from compute.image.metadefs.models import Namespace
from compute.image.metadefs.schemas import Body
from compute.policy.enforcer import Enforcer
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import Answer, Request
from compute.site import Site

ROOM: Final = "image metadefs"
LIMIT_DEFAULT: Final = 25
LIMIT_MAX: Final = 1000
READ_ONLY: Final = ("self", "schema", "created_at", "updated_at")


def instant(us: int) -> str:
    """An instant as the image API writes it."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclasses.dataclass(frozen=True)
class Call:
    """path: what stood for the names in the route. Handlers run on a thread of the database's."""

    site: Site
    enforcer: Enforcer
    context: Context
    request: Request
    path: Mapping[str, str]

    def read(self) -> AbstractContextManager[Session]:
        """A session on one snapshot."""
        return self.site.database.read()

    def write(self) -> AbstractContextManager[Session]:
        """A session that changes metadefs."""
        return self.site.database.write(ROOM)

    def allowed(self, rule: str, namespace: Namespace | None = None) -> bool:
        """Whether the caller may, of this namespace or of none."""
        target: dict[str, Any] = {"project_id": self.context.project_id or "", "visibility": ""}
        if namespace is not None:
            target = {"project_id": namespace.owner, "visibility": namespace.visibility}
        return self.enforcer.allows(rule, target, self.context.credentials)

    def enforce(self, rule: str, namespace: Namespace | None = None) -> None:
        """Raises Forbidden; NotFound where the namespace is not the caller's to see."""
        if self.allowed(rule, namespace):
            return
        if namespace is not None and not self.allowed("get_metadef_namespace", namespace):
            raise unknown(namespace.namespace)
        raise Forbidden("You are not authorized to complete this action.")

    def namespace(self, session: Session, rule: str, name: str | None = None) -> Namespace:
        """The namespace of the path, for a caller who may. Raises NotFound, Forbidden."""
        wanted = name or self.path["namespace"]
        found = session.scalar(select(Namespace).where(Namespace.namespace == wanted))
        if found is None or not self.sees(found):
            raise unknown(wanted)
        self.enforce(rule, found)
        return found

    def sees(self, namespace: Namespace) -> bool:
        """Whether the caller may know that there is this one, whatever the rules allow."""
        mine = self.context.project_id == namespace.owner
        return mine or namespace.visibility == "public" or self.is_admin

    @property
    def is_admin(self) -> bool:
        """Whether the caller sees everything."""
        return self.enforcer.allows("context_is_admin", {}, self.context.credentials)

    @property
    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self.site.now_us()

    def body(self, schema: Body, read_only: tuple[str, ...] = READ_ONLY) -> dict[str, Any]:
        """The body. Raises BadRequest, Forbidden."""
        if not self.request.body:
            raise BadRequest("Body expected in request.")
        fields = self.request.json()
        for name in read_only:
            if name in fields:
                raise Forbidden(f"Attribute '{name}' is read-only.")
        schema.check(fields)
        return fields

    def limit(self) -> int:
        """How many to list at most. Raises BadRequest."""
        said = self.request.query.get("limit")
        if said is None:
            return LIMIT_DEFAULT
        try:
            limit = int(said)
        except ValueError as error:
            raise BadRequest("limit param must be an integer") from error
        if limit < 0:
            raise BadRequest("limit param must be positive")
        return min(limit, LIMIT_MAX)

    def order(self, keys: tuple[str, ...]) -> tuple[str, bool]:
        """By which attribute to sort, and whether downwards. Raises BadRequest."""
        key = self.request.query.get("sort_key", "created_at")
        direction = self.request.query.get("sort_dir", "desc")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {direction}")
        if key not in keys:
            raise BadRequest("Sort key supplied was not valid.")
        return key, direction == "desc"


def unknown(namespace: str) -> NotFound:
    """There is no such namespace, or none that the caller sees."""
    return NotFound(f"Metadata definition namespace={namespace} was not found.")


Handler = Callable[[Call], Answer]
