"""Access rules: the requests that an application credential's token is good for.

As Keystone's: a path is matched whole; `*` and `{anything}` stand for one segment of it, `**` for any
number of them.
"""

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple


class AccessRule(NamedTuple):
    """service: a type of the catalog."""

    service: str
    method: str
    path: str


class Asked(NamedTuple):
    """A request. services: what the service that it is made to is called. path: within the service."""

    services: tuple[str, ...]
    method: str
    path: str


def admits(rules: Iterable[AccessRule], asked: Asked) -> bool:
    """Whether one of the rules is for this request."""
    return any(
        rule.service in asked.services
        and rule.method == asked.method
        and _pattern(rule.path).fullmatch(asked.path) is not None
        for rule in rules
    )


@functools.lru_cache(1024)
def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\{[^}/]*\})", path)
    return re.compile("".join(map(_part, parts)), re.DOTALL)


def _part(part: str) -> str:
    if part == "**":
        return ".*"
    if part == "*" or (part.startswith("{") and part.endswith("}")):
        return "[^/]+"
    return re.escape(part)
