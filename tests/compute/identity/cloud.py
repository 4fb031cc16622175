"""An identity service in this process, over real HTTP, with a clock that tests move."""

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from compute.cloud import CloudConfig, app_of, initialise, opened
from compute.identity.call import Identity
from compute.identity.settings import Settings
from compute.server.listen import serve

PASSWORD = "the administrator's password"
SECRET = b"s" * 32

_numbers = itertools.count(1)


class MovedClock:
    """The real time, and as much more as a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_ns(self) -> int:
        return time.time_ns() + int(self.ahead_s * 1e9)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclasses.dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any

    def __getitem__(self, name: str) -> Any:
        return self.body[name]

    @property
    def message(self) -> str:
        """Of an error."""
        return str(self.body["error"]["message"])


class Cloud:
    """One process of identity and a client. token: the administrator's, sent with each request."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, identity: Identity, clock: MovedClock
    ) -> None:
        self.url = url
        self.identity = identity
        self.clock = clock
        self.token = ""
        self._session = session

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Reply:
        """One request below /v3. token: None for the administrator's, "" for none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["X-Auth-Token"] = self.token if token is None else token
        data = json.dumps(body) if body is not None else None
        url = path if path.startswith("http") else f"{self.url}/v3{path}"
        async with self._session.request(method, url, data=data, headers=sent) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return Reply(
                answer.status, dict(answer.headers), json.loads(raw) if raw and is_json else raw
            )

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """A request that must succeed."""
        reply = await self.call(method, path, body, **more)
        assert reply.status < 300, (method, path, reply)
        return reply

    # -- what many tests need --

    async def log_in(self, scope: Any = None, **identity: Any) -> Reply:
        """POST /v3/auth/tokens. identity: method by its name."""
        auth: dict[str, Any] = {"identity": {"methods": list(identity), **identity}}
        if scope is not None:
            auth["scope"] = scope
        return await self.call("POST", "/auth/tokens", {"auth": auth}, token="")

    async def token_of(self, user: dict[str, Any], scope: Any = None) -> str:
        """A token of a user made by `user`."""
        named = {"id": user["id"], "password": user["password"]}
        reply = await self.log_in(scope, password={"user": named})
        assert reply.status == 201, reply
        return reply.headers["X-Subject-Token"]

    async def make(self, noun: str, path: str = "", **fields: Any) -> dict[str, Any]:
        """A new resource with a name of its own."""
        fields.setdefault("name", f"{noun}-{next(_numbers)}")
        reply = await self.ok("POST", path or f"/{noun}s", {noun: fields})
        made: dict[str, Any] = reply[noun]
        return made

    async def user(
        self, *roles: str, project: str = "", domain: str = "", system: bool = False
    ) -> dict[str, Any]:
        """A new user with these roles on a project, a domain or the system."""
        password = f"password-{next(_numbers)}"
        made = await self.make("user", password=password, domain_id="default")
        where = f"projects/{project}" if project else f"domains/{domain}" if domain else "system"
        for name in roles:
            role_id = await self.role_id(name)
            await self.ok("PUT", f"/{where}/users/{made['id']}/roles/{role_id}")
        assert project or domain or system or not roles
        return {**made, "password": password}

    async def role_id(self, name: str) -> str:
        """The id of a role."""
        found: str = (await self.ok("GET", f"/roles?name={name}"))["roles"][0]["id"]
        return found

    async def validate(self, token: str) -> Reply:
        """What the administrator is told of a token."""
        return await self.call("GET", "/auth/tokens", X_Subject_Token=token)


@contextlib.asynccontextmanager
async def started(
    folder: Path, database: str, settings: Settings | None = None, clock: MovedClock | None = None
) -> AsyncIterator[Cloud]:
    """A process of identity on a database, bootstrapped, with an administrator's token."""
    clock = clock or MovedClock()
    config = CloudConfig(
        str(folder),
        SECRET,
        "127.0.0.1",
        0,
        "http://cloud",
        "http://store",
        database,
        1.0,
        settings or Settings(),
    )
    with opened(config, clock) as identity:
        initialise(config, identity, {"admin": PASSWORD})
        async with (
            app_of(config, identity) as app,
            serve(app, "127.0.0.1", 0, 1.0) as port,
            aiohttp.ClientSession() as session,
        ):
            cloud = Cloud(f"http://127.0.0.1:{port}", session, identity, clock)
            admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
            scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
            reply = await cloud.log_in(scope, password={"user": admin})
            assert reply.status == 201, reply
            cloud.token = reply.headers["X-Subject-Token"]
            yield cloud
