"""Identity as a service of the add-on's port: admits the caller, calls the handler, writes refusals."""

import logging
from typing import Final

import msgspec

from compute.access import Context
from compute.database.engine import DatabaseAway, NotUnique
from compute.identity.api import OPEN_ROUTES, ROUTES
from compute.identity.call import ROOM, Actor, Call, Handler, Identity
from compute.identity.errors import not_allowed, unauthorized
from compute.identity.models.projects import Project
from compute.identity.tokens.payload import BadToken
from compute.identity.tokens.standing import Refused, access_rules, body_of, stand
from compute.identity.validated import ChangeNumber, Validated, ValidatedTokens, context_of
from compute.server.errors import ApiError, Conflict, NotFound, Unauthorized, Unavailable
from compute.server.request import Answer, Request, json_answer
from compute.server.routes import Route, RouteTable
from runtime.access_rules import AccessRule, Asked

TOKEN_HEADER: Final = "X-Auth-Token"  # noqa: S105 - a name
SUBJECT_HEADER: Final = "X-Subject-Token"
SERVICE_TYPES: Final = ("identity",)
ACCESS_RULES_HEADER: Final = "OpenStack-Identity-Access-Rules"
TOKENS_PATH: Final = "/v3/auth/tokens"
RETRY_AFTER_S: Final = 1

log = logging.getLogger("atoll.cloud.identity")


class IdentityService:
    """Answers identity's requests. One per process."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: RouteTable[Handler] = RouteTable(Route(*row) for row in OPEN_ROUTES)
        self._routes: RouteTable[Handler] = RouteTable(Route(*row) for row in ROUTES)
        self._number = ChangeNumber(identity.database, ROOM)
        self._validated = ValidatedTokens()
        self._seen = -1

    def streams(self, _method: str, _path: str) -> bool:
        """Identity takes all bodies whole."""
        return False

    async def answer(self, request: Request) -> Answer:
        """The answer, refusals included."""
        try:
            if request.path == TOKENS_PATH and request.method in ("GET", "HEAD"):
                return await self._show_token(request)
            return await self._handle(request)
        except ApiError as error:
            return self.refused(request, error)
        except NotUnique as error:
            log.info("a constraint of the database refused it: %s", error)
            return self.refused(
                request, Conflict("Conflict occurred: what this needs or makes is in use.")
            )
        except DatabaseAway as error:
            log.warning("the database can't be used: %s", error)
            away = Unavailable(
                "The database is not available at the moment.", {"Retry-After": str(RETRY_AFTER_S)}
            )
            return self.refused(request, away)

    def refused(self, request: Request, error: ApiError) -> Answer:
        """An error in Keystone's form."""
        headers = dict(error.headers)
        if isinstance(error, Unauthorized):
            headers.setdefault("WWW-Authenticate", f'Keystone uri="{request.base}"')
        if request.method == "HEAD":
            return Answer(error.status, None, headers)
        body = {"error": {"code": error.status, "message": error.message, "title": error.title}}
        return json_answer(body, error.status, headers)

    async def _handle(self, request: Request) -> Answer:
        try:
            handler, path = self._open.find(request.method, request.path)
            actor = None
        except ApiError:
            handler, path = self._routes.find(request.method, request.path)
            actor = await self._actor(request)
        call = Call(self._identity, request, path, actor)
        answer = await self._identity.database.run(lambda: handler(call))
        return answer._replace(body=None) if request.method == "HEAD" else answer

    # -- what other rooms ask --

    async def context(self, token: str, asked: Asked | None) -> Context | None:
        """Who has this token; None for one that is worth nothing, or not for what is asked."""
        found = await self._validate(token)
        return context_of(token, found) if found is not None and found.is_for(asked) else None

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project."""
        database = self._identity.database

        def look() -> bool:
            with database.read() as session:
                row = session.get(Project, project_id)
                return row is not None and not row.is_domain

        return await database.run(look)

    # -- tokens --

    async def _actor(self, request: Request) -> Actor:
        """Who asks. Raises Unauthorized."""
        found = await self._validate(request.headers.get(TOKEN_HEADER, ""))
        if found is None or not found.is_for(Asked(SERVICE_TYPES, request.method, request.path)):
            raise unauthorized()
        return Actor(found.payload, found.credentials, found.delegates)

    async def _validate(self, token: str) -> Validated | None:
        """What a token is; None for one that is worth nothing."""
        if not token:
            return None
        number = await self._number.now()
        if number != self._seen:
            self._seen = number
            self._identity.keys.forget()
        known = self._validated.get(token, number, self._identity.now_us())
        if known is None:
            known = await self._identity.database.run(lambda: self._look_up(token))
            if known is not None:
                self._validated.put(token, number, known)
        return known

    def _look_up(self, token: str) -> Validated | None:
        identity = self._identity
        try:
            payload = identity.keys.read(token)
            with identity.database.read() as session:
                standing = stand(session, payload, identity.now_us())
                body = body_of(session, standing)
                app = standing.application_credential
                rules = access_rules(session, app.id) if app is not None else []
        except (BadToken, Refused) as error:
            log.info("a token was refused: %s", error)
            return None
        bare = {name: value for name, value in body.items() if name != "catalog"}
        return Validated(
            payload,
            standing.credentials(),
            msgspec.json.encode({"token": body}),
            msgspec.json.encode({"token": bare}),
            app is None or app.unrestricted,
            tuple(AccessRule(rule["service"], rule["method"], rule["path"]) for rule in rules),
        )

    async def _show_token(self, request: Request) -> Answer:
        """GET /v3/auth/tokens, the most frequent request of all: without a thread where it is known."""
        actor = await self._actor(request)
        subject = request.headers.get(SUBJECT_HEADER, "")
        found = await self._validate(subject)
        if found is None:
            raise NotFound("Could not find token.")
        rule = "identity:check_token" if request.method == "HEAD" else "identity:validate_token"
        target = {"target.token.user_id": found.payload.user_id}
        if not self._identity.enforcer.allows(rule, target, actor.credentials):
            raise not_allowed(rule)
        if found.access_rules and ACCESS_RULES_HEADER not in request.headers:
            raise NotFound("Could not find token.")
        headers = {SUBJECT_HEADER: subject}
        if request.method == "HEAD":
            return Answer(200, None, headers)
        bare = "nocatalog" in request.query
        return Answer(200, found.bare if bare else found.full, headers)
