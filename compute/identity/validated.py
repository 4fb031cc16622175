"""Tokens that were validated, remembered for as long as nothing in identity has changed.

A token is looked up anew when its room's number in the database has moved (`Change`): whatever process
changed whatever, no cached answer outlives it. The number is one small query, and all requests that
wait for it share one, so validating costs little under load and is never stale.
"""

import asyncio
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import msgspec

from compute.access import Context
from compute.database.engine import Database
from runtime.access_rules import AccessRule, Asked, admits

TOKENS_MAX: Final = 2048
"""Validated tokens that a process remembers; each is a few KiB."""


class Validated(NamedTuple):
    """What a token was found to be. full, bare: its body, with and without the catalog.

    access_rules: what it is limited to; none for no limit.
    """

    payload: Any
    credentials: dict[str, Any]
    full: bytes
    bare: bytes
    delegates: bool
    access_rules: tuple[AccessRule, ...]

    def is_for(self, asked: Asked | None) -> bool:
        """Whether it is good for this request, or for none that is known."""
        if not self.access_rules:
            return True
        return asked is not None and admits(self.access_rules, asked)


def context_of(token: str, found: Validated) -> Context:
    """The same for other rooms."""
    body = msgspec.json.decode(found.bare)["token"]
    user, project = body["user"], body.get("project") or {}
    return Context(
        token=token,
        user_id=str(found.credentials["user_id"]),
        user_name=user["name"],
        user_domain_id=user["domain"]["id"],
        project_id=project.get("id"),
        project_name=project.get("name"),
        project_domain_id=project.get("domain", {}).get("id"),
        domain_id=body.get("domain", {}).get("id"),
        system_scope=found.credentials["system_scope"],
        roles=frozenset(found.credentials["roles"]),
        credentials=found.credentials,
    )


class ChangeNumber:
    """A room's number as it is now. Who asks while a query is under way shares the one after it."""

    def __init__(self, database: Database, room: str) -> None:
        self._database = database
        self._room = room
        self._lock = asyncio.Lock()
        self._number = 0
        self._begun = 0
        self._answered = 0

    async def now(self) -> int:
        """The number at some moment after this call began. Raises DatabaseAway."""
        begun_before = self._begun
        async with self._lock:
            if self._answered > begun_before:
                return self._number
            self._begun += 1
            self._number = await self._database.run(lambda: self._database.change_number(self._room))
            self._answered = self._begun
            return self._number


class ValidatedTokens:
    """The cache, by token, bounded; the longest unused goes first."""

    def __init__(self, tokens_max: int = TOKENS_MAX) -> None:
        self._tokens_max = tokens_max
        self._known: OrderedDict[str, tuple[int, Validated]] = OrderedDict()

    def get(self, token: str, number: int, now_us: int) -> Validated | None:
        """What is known of a token at this number, if it has not expired."""
        entry = self._known.get(token)
        if entry is None or entry[0] != number or entry[1].payload.expires_at_us <= now_us:
            self._known.pop(token, None)
            return None
        self._known.move_to_end(token)
        return entry[1]

    def put(self, token: str, number: int, found: Validated) -> None:
        """Remember what was found. number: as it was before it was looked for."""
        self._known[token] = (number, found)
        while len(self._known) > self._tokens_max:
            self._known.popitem(last=False)
