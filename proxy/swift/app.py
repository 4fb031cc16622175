"""The Swift front end's entry: routes a request, admits its caller, turns errors into answers.

`proxy/door.py` calls `SwiftApp.handle` for /v1/, /auth/, /info, /healthcheck and /endpoints. The verbs
are in the file of their name; nothing here knows what they do.
"""

import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.auth.keystone import Keystone
from proxy.auth.tempauth import TOKEN_PREFIX, TempAuth, login_of
from proxy.auth.users import UserDirectory
from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer
from proxy.http import METHODS, VERB, split_target
from proxy.swift import cors, info, tempurl
from proxy.swift.access import Caller, Grant
from proxy.swift.account import account
from proxy.swift.archive import extract_archive
from proxy.swift.bulk import bulk_delete
from proxy.swift.container import container
from proxy.swift.copy import copy_object
from proxy.swift.delete import delete_object
from proxy.swift.errors import CLIENT_GONE, SwiftError, answer_for, method_not_allowed
from proxy.swift.formats import to_json
from proxy.swift.get import get_object
from proxy.swift.post import post_object
from proxy.swift.put import put_object
from proxy.swift.request import (
    TEXT,
    SwiftRequest,
    Target,
    error_response,
    make_response,
    parse_query,
    parse_target,
)
from runtime.access_rules import Asked
from runtime.clock import Clock
from runtime.randomness import Randomness, SystemRandomness

SERVICE_TYPES: Final = ("object-store",)
"""As access rules name it."""
AUTH_PATHS: Final = ("/auth/v1.0", "/auth/v1")
JSON: Final = "application/json; charset=UTF-8"
CLIENT_LEFT: Final = (ConnectionError, TimeoutError)
"""What an answer ends with when its client is gone or takes nothing: no fault of ours."""

_TRANS_ID_BYTES: Final = 11


def log_fault(error: Exception) -> None:
    """Where faults of ours go that no error names: the log, with their trace."""
    logging.getLogger("atoll.swift").error("request failed", exc_info=error)


class SwiftApp:
    """OpenStack Swift over one store.

    token_secret: the cluster's secret for TempAuth tokens. storage_url_base: scheme and authority of
    storage URLs, "" to take them from each login's Host header. keystone: whose tokens are taken beside
    TempAuth's. on_fault: told of errors that the table does not have, which are answered with 500.
    """

    def __init__(
        self,
        store: Store,
        users: UserDirectory,
        clock: Clock,
        token_secret: bytes,
        storage_url_base: str = "",
        *,
        keystone: Keystone | None = None,
        randomness: Randomness | None = None,
        on_fault: Callable[[Exception], None] = log_fault,
    ) -> None:
        self._store = store
        self._tempauth = TempAuth(users, token_secret)
        self._keystone = keystone
        self._clock = clock
        self._url_base = storage_url_base.rstrip("/")
        self._randomness = randomness or SystemRandomness()
        self._on_fault = on_fault

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Never raises for what a client or the store can do wrong."""
        now_ns = self._clock.now_ns()
        trans_id = self._trans_id(now_ns)
        common = {"X-Trans-Id": trans_id, "X-Openstack-Request-Id": trans_id}
        try:
            return await self._route(request, now_ns, common)
        except Exception as error:
            if not isinstance(error, CLIENT_LEFT) and answer_for(error).status == 500:
                self._on_fault(error)
            if request.writer.output_size > 0:  # an answer was under way: it can only be cut off
                raise ConnectionResetError("the answer could not be finished") from error
            gone = SwiftError(CLIENT_GONE) if isinstance(error, CLIENT_LEFT) else error
            return error_response(request, answer_for(gone), common)

    def refused(self, request: web.BaseRequest, error: Exception) -> web.StreamResponse:
        """The answer to a request that was refused before it was looked at."""
        trans_id = self._trans_id(self._clock.now_ns())
        common = {"X-Trans-Id": trans_id, "X-Openstack-Request-Id": trans_id}
        return error_response(request, answer_for(error), common)

    def _trans_id(self, now_ns: int) -> str:
        """`tx`, 21 random hex digits, `-`, the time in 10: the form that Swift's clients know."""
        digits = self._randomness.token(_TRANS_ID_BYTES).hex()[:21]
        return f"tx{digits}-{now_ns // 1_000_000_000:010x}"

    async def _route(
        self, http: web.BaseRequest, now_ns: int, common: dict[str, str]
    ) -> web.StreamResponse:
        path, raw_query = split_target(http.raw_path)
        match path.rstrip("/"):
            case "/healthcheck":
                return make_response(http, 200, "OK", common, TEXT)
            case "/info":
                return self._answer_info(http, common)
            case plain if plain in AUTH_PATHS:
                return self._log_in(http, now_ns, common)
            case plain if plain == "/endpoints" or plain.startswith("/endpoints/"):
                raise SwiftError(501, "Endpoints are not shown: objects have no files of their own")
            case plain if plain == "/auth" or plain.startswith("/auth/"):
                raise SwiftError(404)
        request = SwiftRequest(
            http,
            caller=Caller(),
            target=parse_target(path),
            query=parse_query(raw_query),
            now_ns=now_ns,
            common=common,
        )
        return await self._answer(request)

    # -- what needs no account --

    def _answer_info(self, http: web.BaseRequest, common: dict[str, str]) -> web.Response:
        if http.method not in ("GET", "HEAD", "OPTIONS"):
            raise method_not_allowed(("GET", "HEAD", "OPTIONS"))
        if http.method == "OPTIONS":
            return make_response(http, 200, b"", {**common, "Allow": "GET, HEAD, OPTIONS"}, TEXT)
        return make_response(http, 200, to_json(info.capabilities(self._store)), common, JSON)

    def _log_in(self, http: web.BaseRequest, now_ns: int, common: dict[str, str]) -> web.Response:
        """TempAuth: a login and its key for a token and the URL of the account."""
        if http.method not in ("GET", "HEAD"):
            raise method_not_allowed(("GET", "HEAD"))
        now_s = now_ns / 1e9
        token = self._tempauth.log_in(*login_of(http.headers), now_s)
        headers = {
            **common,
            "X-Auth-Token": token.text,
            "X-Storage-Token": token.text,
            "X-Storage-Url": f"{self._base_url(http)}/v1/{token.user.account}",
            "X-Auth-Token-Expires": str(int(token.expires_at_s - now_s)),
        }
        return make_response(http, 200, b"", headers, TEXT)

    def _base_url(self, http: web.BaseRequest) -> str:
        return self._url_base or f"{http.scheme}://{http.host}"

    # -- accounts, containers, objects --

    async def _answer(self, request: SwiftRequest) -> web.StreamResponse:
        request.http[VERB] = _verb(request)
        if request.method == "OPTIONS":
            return await cors.answer_options(self._store, request)
        request.common.update(await cors.headers_for_origin(self._store, request))
        request.caller = await self._admit(request)
        if request.method == "PUT" and "extract-archive" in request.query:
            return await extract_archive(self._store, request)
        if request.method in ("DELETE", "POST") and "bulk-delete" in request.query:
            return await bulk_delete(self._store, request)
        if request.target.name:
            return await self._object(request)
        if request.target.container:
            return await container(self._store, request)
        return await account(self._store, request)

    async def _object(self, request: SwiftRequest) -> web.StreamResponse:
        match request.method:
            case "GET" | "HEAD":
                return await get_object(self._store, request)
            case "PUT":
                return await put_object(self._store, request)
            case "POST":
                return await post_object(self._store, request)
            case "DELETE":
                return await delete_object(self._store, request)
            case "COPY":
                return await copy_object(self._store, request)
            case _:
                raise method_not_allowed(cors.OBJECT_METHODS)

    async def _admit(self, request: SwiftRequest) -> Caller:
        """Who asks: by a signed URL, a token, or nobody.

        Raises SwiftError 401, InvalidToken, KeystoneAway.
        """
        referer = request.headers.get("Referer")
        if tempurl.is_tempurl(request.query):
            return Caller(None, await self._grant(request), referer)
        token = request.header("X-Auth-Token") or request.header("X-Storage-Token")
        if not token:
            return Caller(None, None, referer)
        now_s = request.now_ns / 1e9
        if self._keystone is not None and not token.startswith(TOKEN_PREFIX):
            asked = Asked(SERVICE_TYPES, request.method, request.http.path)
            return Caller(await self._keystone.user_of(token, now_s, asked), None, referer)
        return Caller(self._tempauth.verify(token, now_s), None, referer)

    async def _grant(self, request: SwiftRequest) -> Grant:
        """What the signed URL allows: by a key of the account, or by one of the container alone."""
        url = tempurl.parse(request.query)
        target, method = request.target, request.method
        tempurl.check_use(url, method, target, request.headers, request.query)
        account_keys = await self._store.account_meta(target.account)
        container_keys = await self._container_meta(target)
        remote = request.http.remote or ""
        need = tempurl.need_of(method)
        for scope, meta in (("", account_keys), (target.container, container_keys)):
            if tempurl.signed_by(url, method, target, tempurl.keys_of(meta)):
                tempurl.check_time_and_place(url, now_s=request.now_s, remote=remote)
                return Grant(target.account, scope, need)
        raise tempurl.invalid()

    async def _container_meta(self, target: Target) -> dict[str, str]:
        try:
            found = await self._store.container(target.account, target.container, fresh=True)
        except NoSuchContainer:
            return {}
        return found.head.meta


def _verb(request: SwiftRequest) -> str:
    """What the metrics call it: get_object, put_container, bulk_delete."""
    if request.method == "PUT" and "extract-archive" in request.query:
        return "extract_archive"
    if "bulk-delete" in request.query:
        return "bulk_delete"
    target = request.target
    level = "object" if target.name else "container" if target.container else "account"
    return f"{request.method.lower()}_{level}" if request.method in METHODS else "other"
