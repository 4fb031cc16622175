"""Volumes as a service of the add-on's port: admits callers, picks handlers, writes refusals."""

import inspect
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from compute.access import Context
from compute.database.engine import DatabaseAway, NotUnique
from compute.objects.errors import StoreAway
from compute.policy.enforcer import Enforcer
from compute.server.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotFound,
    Unauthorized,
    Unavailable,
)
from compute.server.request import Answer, Request, json_answer
from compute.server.routes import Route, RouteTable
from compute.site import Site
from compute.volume.call import MINOR_MAX, Call, Handler
from compute.volume.versions import discovered
from runtime.access_rules import Asked

TOKEN_HEADER: Final = "X-Auth-Token"  # noqa: S105 - a name
VERSION_HEADER: Final = "OpenStack-API-Version"
RETRY_AFTER_S: Final = 1
PROJECT: Final = re.compile(r"^/v3/(?P<project_id>[0-9a-fA-F]{32}|[0-9a-fA-F-]{36})(?=/)")
"""Clients put the project into the path, or do not; it is always the token's."""
NAMES: Final[Mapping[int, str]] = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}

SERVICE_TYPES: Final = ("block-storage", "block-store", "volumev3", "volume")
"""As access rules may name it."""

log = logging.getLogger("atoll.cloud.volume")


class NotAcceptable(ApiError):
    """A version that is not served."""

    status = 406


class VolumeService:
    """Answers the room's requests. routes: method, path, handler, least minor version (or 0)."""

    def __init__(self, site: Site, enforcer: Enforcer, routes: Iterable[tuple[Any, ...]]) -> None:
        self._site = site
        self._enforcer = enforcer
        self._routes: RouteTable[tuple[Handler, int]] = RouteTable(
            Route(row[0], row[1], (row[2], row[3] if len(row) > 3 else 0)) for row in routes
        )

    def streams(self, _method: str, _path: str) -> bool:
        """All bodies are small."""
        return False

    async def answer(self, request: Request) -> Answer:
        """The answer, refusals included."""
        known = discovered(request)
        if known is not None:
            return known._replace(body=None) if request.method == "HEAD" else known
        try:
            minor = minor_of(request.headers.get(VERSION_HEADER, ""))
            answer = await self._handle(request, minor)
            return _versioned(answer, minor)
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
        """An error in Cinder's form."""
        name = NAMES.get(error.status, "computeFault")
        said: dict[str, Any] = {"code": error.status, "message": error.message}
        if "Retry-After" in error.headers:
            said["retryAfter"] = error.headers["Retry-After"]
        if request.method == "HEAD":
            return Answer(error.status, None, error.headers)
        return json_answer({name: said}, error.status, error.headers)

    async def _handle(self, request: Request, minor: int) -> Answer:
        context = await self._context(request)
        path, project = _without_project(request.path, context)
        if path.endswith("/"):  # the id of nothing, not the collection
            raise NotFound("The resource could not be found.")
        (handler, least), names = self._routes.find(request.method, path)
        if minor < least:
            raise NotFound(f"API version 3.{minor} is not supported on this method.")
        call = Call(self._site, self._enforcer, request, names | project, context, minor)
        if inspect.iscoroutinefunction(handler):
            answer: Answer = await handler(call)
        else:
            answer = await self._site.database.run(lambda: _plain(handler, call))
        return answer._replace(body=None) if request.method == "HEAD" else answer

    async def _context(self, request: Request) -> Context:
        token = request.headers.get(TOKEN_HEADER, "")
        asked = Asked(SERVICE_TYPES, request.method, request.path)
        context = await self._site.authenticator.context(token, asked) if token else None
        if context is None:
            raise Unauthorized("The request you have made requires authentication.")
        return context


def _plain(handler: Handler, call: Call) -> Answer:
    answer = handler(call)
    assert isinstance(answer, Answer)
    return answer


def _without_project(path: str, context: Context) -> tuple[str, dict[str, str]]:
    """The path without the project. Raises BadRequest for one that is not the token's."""
    found = PROJECT.match(path)
    if found is None:
        return path, {}
    project_id = found["project_id"]
    if project_id != context.project_id and context.system_scope is None:
        raise BadRequest("Malformed request url")
    return f"/v3{path[found.end() :]}", {"project_id": project_id}


def minor_of(header: str) -> int:
    """The minor version that is asked for: `volume 3.59`; 0 where nothing is said.

    Raises BadRequest, NotAcceptable.
    """
    for part in header.split(","):
        words = part.split()
        if not words or words[0] != "volume":
            continue
        version = words[1] if len(words) == 2 else ""
        if version == "latest":
            return MINOR_MAX
        if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
            raise BadRequest(
                f"API Version String {version} is of invalid format. Must be of format"
                " MajorNum.MinorNum."
            )
        major, minor = map(int, version.split("."))
        if major != 3 or minor > MINOR_MAX:
            raise NotAcceptable(
                f"Version {version} is not supported by the API. Minimum is 3.0 and maximum is"
                f" 3.{MINOR_MAX}."
            )
        return minor
    return 0


def _versioned(answer: Answer, minor: int) -> Answer:
    headers = {
        "OpenStack-API-Version": f"volume 3.{minor}",
        "Vary": "OpenStack-API-Version, X-Auth-Token",
    }
    return answer._replace(headers={**headers, **answer.headers})


def _away(reason: str) -> Unavailable:
    return Unavailable(reason, {"Retry-After": str(RETRY_AFTER_S)})
