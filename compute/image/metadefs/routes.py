"""All routes of metadefs. The image service hands requests to them over, with who makes them."""

from typing import Final

from compute.access import Context
from compute.image.metadefs import namespaces, objects, properties, resource_types, tags
from compute.image.metadefs.call import Call, Handler
from compute.image.metadefs.schemas import SERVED
from compute.policy.enforcer import Enforcer
from compute.server.errors import NotFound
from compute.server.request import Answer, Request, json_answer
from compute.server.routes import Route, RouteTable
from compute.site import Site

PREFIXES: Final = ("/v2/metadefs/", "/v2/schemas/metadefs/")


def show_schema(call: Call) -> Answer:
    """GET /v2/schemas/metadefs/{schema}."""
    schema = SERVED.get(call.path["schema"])
    if schema is None:
        raise NotFound("The resource could not be found.")
    return json_answer(schema)


ROUTES: Final[list[tuple[str, str, Handler]]] = [
    *namespaces.ROUTES,
    *objects.ROUTES,
    *properties.ROUTES,
    *tags.ROUTES,
    *resource_types.ROUTES,
    ("GET", "/v2/schemas/metadefs/{schema}", show_schema),
]


class Metadefs:
    """Answers requests below PREFIXES. enforcer: knows this package's RULES, too."""

    def __init__(self, site: Site, enforcer: Enforcer) -> None:
        self._site = site
        self._enforcer = enforcer
        self._routes: RouteTable[Handler] = RouteTable(Route(*row) for row in ROUTES)

    def serves(self, path: str) -> bool:
        """Whether a path is one of these."""
        return path.startswith(PREFIXES)

    async def answer(self, context: Context, request: Request) -> Answer:
        """The answer. Raises ApiError, NotUnique, DatabaseAway."""
        handler, path = self._routes.find(request.method, request.path)
        call = Call(self._site, self._enforcer, context, request, path)
        return await self._site.database.run(lambda: handler(call))
