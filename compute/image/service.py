"""Images as a service of the add-on's port: admits callers, picks handlers, writes refusals."""

import html
import inspect
import logging
import re
from typing import Final

from compute.access import Context
from compute.database.engine import DatabaseAway, NotUnique
from compute.image.api import ROUTES
from compute.image.api.discovery import versions
from compute.image.call import Call, Handler, Images
from compute.image.library import ImageLibrary
from compute.image.metadefs.routes import Metadefs
from compute.objects.errors import StoreAway
from compute.server.errors import ApiError, Conflict, NotFound, Unauthorized, Unavailable
from compute.server.request import Answer, Request, json_answer
from compute.server.routes import Route, RouteTable
from runtime.access_rules import Asked

TOKEN_HEADER: Final = "X-Auth-Token"  # noqa: S105 - a name
SERVICE_TYPES: Final = ("image",)
"""As access rules name it."""
RETRY_AFTER_S: Final = 1
OPEN_PATHS: Final = ("/", "/versions", "/versions/")
_STREAMED: Final = re.compile(r"/v2/images/[^/]+/(file|stage)")
_PAGE: Final = """<html>
 <head>
  <title>{status}</title>
 </head>
 <body>
  <h1>{status}</h1>
  {message}<br /><br />
 </body>
</html>"""

log = logging.getLogger("atoll.cloud.image")


class ImageService:
    """Answers the room's requests. One per process."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._metadefs = Metadefs(images.site, images.enforcer)
        self._routes: RouteTable[Handler] = RouteTable(Route(*row) for row in ROUTES)

    @property
    def library(self) -> ImageLibrary:
        """What other rooms may ask."""
        return ImageLibrary(self._images)

    def streams(self, method: str, path: str) -> bool:
        """An image's bytes are not read whole."""
        return method == "PUT" and _STREAMED.fullmatch(path) is not None

    async def answer(self, request: Request) -> Answer:
        """The answer, refusals included."""
        try:
            answer = await self._handle(request)
            return answer._replace(body=None) if request.method == "HEAD" else answer
        except ApiError as error:
            return self.refused(request, error)
        except NotUnique as error:
            log.info("a constraint of the database refused it: %s", error)
            return self.refused(request, Conflict("What this needs or makes is in use."))
        except DatabaseAway as error:
            log.warning("the database can't be used: %s", error)
            return self.refused(request, _away("The database is not available at the moment."))
        except StoreAway as error:
            log.warning("the object store can't be used: %s", error)
            return self.refused(request, _away("The object store is not available at the moment."))

    def refused(self, request: Request, error: ApiError) -> Answer:
        """An error in Glance's form: JSON where the client asks for it, else a page."""
        if request.method == "HEAD":
            return Answer(error.status, None, error.headers)
        status = f"{error.status} {error.title}"
        if "json" in request.headers.get("Accept", ""):
            said = {"message": error.message, "code": status, "title": error.title}
            return json_answer(said, error.status, error.headers)
        page = _PAGE.format(status=status, message=html.escape(error.message, quote=False))
        headers = {"Content-Type": "text/html; charset=UTF-8", **error.headers}
        return Answer(error.status, page.encode(), headers)

    async def _handle(self, request: Request) -> Answer:
        if request.path in OPEN_PATHS:
            return versions(request)
        context = await self._context(request)
        if request.path == "/v2/images/":
            raise NotFound("No image found with ID ''")  # what stands before the slash is no list
        if self._metadefs.serves(request.path):
            return await self._metadefs.answer(context, request)
        handler, path = self._routes.find(request.method, request.path)
        call = Call(self._images, request, path, context)
        if inspect.iscoroutinefunction(handler):
            answer: Answer = await handler(call)
            return answer
        return await self._images.site.database.run(lambda: _plain(handler, call))

    async def _context(self, request: Request) -> Context:
        token = request.headers.get(TOKEN_HEADER, "")
        asked = Asked(SERVICE_TYPES, request.method, request.path)
        context = await self._images.site.authenticator.context(token, asked) if token else None
        if context is None:
            raise Unauthorized("The request you have made requires authentication.")
        return context


def _plain(handler: Handler, call: Call) -> Answer:
    answer = handler(call)
    assert isinstance(answer, Answer)
    return answer


def _away(message: str) -> Unavailable:
    return Unavailable(message, {"Retry-After": str(RETRY_AFTER_S)})
