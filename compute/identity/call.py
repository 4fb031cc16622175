"""One request to identity, with who makes it: what the functions in `api/` are given.

They run on a database thread. `Identity` is what the process knows; a `Call` is of one request.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from compute.database.engine import Database
from compute.identity.errors import not_allowed, unauthorized
from compute.identity.secrets import Sealer
from compute.identity.settings import Settings
from compute.identity.tokens.payload import Payload, TokenKeys
from compute.policy.enforcer import Enforcer, flat
from compute.server.errors import BadRequest
from compute.server.request import Answer, Request, json_answer
from compute.server.schema import Schema
from runtime.clock import Clock
from runtime.randomness import Randomness

ROOM = "identity"


@dataclasses.dataclass(frozen=True)
class Identity:
    """The room's own: its database, rules, keys, settings, and the doors to time and chance."""

    database: Database
    enforcer: Enforcer
    keys: TokenKeys
    sealer: Sealer
    settings: Settings
    clock: Clock
    randomness: Randomness

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self.clock.now_ns() // 1000

    def new_id(self) -> str:
        """32 random hex digits."""
        return self.randomness.token(16).hex()


class Actor(NamedTuple):
    """Who makes a request: the token's payload, what rules see of it, and whether it may delegate."""

    payload: Payload
    credentials: Mapping[str, Any]
    delegates: bool = True

    @property
    def user_id(self) -> str:
        """The acting user; of a trust with impersonation, the trustor."""
        return str(self.credentials["user_id"])


class Call:
    """A request on its way through a handler. path: what stood for the names in its route."""

    def __init__(
        self, identity: Identity, request: Request, path: Mapping[str, str], actor: Actor | None
    ) -> None:
        self.identity = identity
        self.request = request
        self.path = path
        self._actor = actor

    @property
    def actor(self) -> Actor:
        """Raises Unauthorized for a stranger."""
        if self._actor is None:
            raise unauthorized()
        return self._actor

    @property
    def v3(self) -> str:
        """The URL that links begin with."""
        return f"{self.request.base}/v3"

    def read(self) -> Any:
        """A session on one snapshot."""
        return self.identity.database.read()

    def write(self, *, changes: bool = True) -> Any:
        """A session that changes what is so in identity."""
        return self.identity.database.write(ROOM, changes=changes)

    def allowed(self, rule: str, **target: Any) -> bool:
        """Whether the caller may. Tables go to `target.<name>.…`, plain values to both forms.

        A plain None is left out: no rule may take "no domain" for the caller's lack of one.
        """
        target = {name: value for name, value in target.items() if value is not None}
        facts = {**self.path, **{k: v for k, v in target.items() if not isinstance(v, Mapping)}}
        facts |= flat({"target": target})
        credentials = self.actor.credentials
        return self.identity.enforcer.allows(f"identity:{rule}", facts, credentials)

    def enforce(self, rule: str, **target: Any) -> None:
        """Raises Forbidden where the caller may not."""
        if not self.allowed(rule, **target):
            raise not_allowed(f"identity:{rule}")

    def body(self, name: str, schema: Schema | None = None) -> dict[str, Any]:
        """The resource in the body. Raises BadRequest."""
        fields = self.request.json().get(name)
        if not isinstance(fields, dict):
            raise BadRequest(f"{name!r} is a required property")
        if schema is not None:
            schema.check(fields)
        return fields

    def query(self, name: str) -> str | None:
        """A parameter's value."""
        value: str | None = self.request.query.get(name)
        return value

    def flag(self, name: str) -> bool:
        """A parameter that is true by being there, unless it says 0 or false."""
        value = self.query(name)
        return value is not None and value.lower() not in ("0", "false")

    def listed(self, plural: str, rows: list[dict[str, Any]], **more: Any) -> Answer:
        """A list as the API writes it, with the link to itself."""
        query = f"?{self.request.query_text}" if self.request.query_text else ""
        itself = f"{self.request.base}{self.request.path}{query}"
        links = {"next": None, "self": itself, "previous": None}
        return json_answer({plural: rows, "links": links, **more})


Handler = Callable[[Call], Answer]
