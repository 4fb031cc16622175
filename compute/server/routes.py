"""Which function answers a method and a path: a tree of path segments, made once.

Patterns are `/v3/users/{user_id}`: a segment in braces takes any text and hands it over by its name.
A fixed segment goes before one in braces.
"""

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from compute.server.errors import MethodNotAllowed, NotFound

Handler = TypeVar("Handler")


class Route(NamedTuple, Generic[Handler]):
    """One row of a service's table."""

    method: str
    pattern: str
    handler: Handler


class _Node(Generic[Handler]):
    def __init__(self) -> None:
        self.fixed: dict[str, _Node[Handler]] = {}
        self.any: _Node[Handler] | None = None
        self.handlers: dict[str, tuple[Handler, tuple[str, ...]]] = {}


class RouteTable(Generic[Handler]):
    """Finds the handler of a request. GET answers HEAD, too."""

    def __init__(self, routes: Iterable[Route[Handler]]) -> None:
        self._root: _Node[Handler] = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route[Handler]) -> None:
        node, names = self._root, []
        for segment in _segments(route.pattern):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.fixed.setdefault(segment, _Node())
        assert route.method not in node.handlers, f"{route.method} {route.pattern} is there twice"
        node.handlers[route.method] = (route.handler, tuple(names))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, Any]]:
        """The handler and what stands for the names. Raises NotFound, MethodNotAllowed."""
        found = _walk(self._root, _segments(path), ())
        if found is None:
            raise NotFound("The resource could not be found.")
        node, values = found
        known = node.handlers.get(method) or (node.handlers.get("GET") if method == "HEAD" else None)
        if known is None:
            allowed = ", ".join(sorted(node.handlers))
            raise MethodNotAllowed(
                "The method is not allowed for the requested URL.", {"Allow": allowed}
            )
        handler, names = known
        return handler, dict(zip(names, values, strict=True))


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _walk(
    node: _Node[Handler], segments: list[str], values: tuple[str, ...]
) -> tuple[_Node[Handler], tuple[str, ...]] | None:
    """Depth is that of the patterns, so recursion ends soon whatever a path looks like."""
    if not segments:
        return (node, values) if node.handlers else None
    first, rest = segments[0], segments[1:]
    if first in node.fixed and (found := _walk(node.fixed[first], rest, values)):
        return found
    return _walk(node.any, rest, (*values, first)) if node.any else None
