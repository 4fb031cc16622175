"""Images beside identity on one port, in this process, on an object store's twin in memory."""

import contextlib
import hashlib
import io
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from compute.cloud import CloudConfig, initialise, opened, site_of
from compute.identity.service import IdentityService
from compute.image.room import opened as image_room
from compute.image.settings import Settings
from compute.objects.contract import ObjectStore
from compute.server.app import CloudApp, Mount
from compute.server.listen import serve
from compute.site import Site
from tests.compute.identity.cloud import PASSWORD, SECRET, Cloud, MovedClock, Reply

V2_0 = "application/openstack-images-v2.0-json-patch"
V2_1 = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"
_numbers = itertools.count(1)


class Pictures:
    """Requests below /image/v2. token: the administrator's unless another one is given."""

    def __init__(self, cloud: Cloud, session: aiohttp.ClientSession, site: Site) -> None:
        self.cloud = cloud
        self.site = site
        self.http = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        kind: str = "application/json",
        **headers: str,
    ) -> Reply:
        """One request. body: bytes and iterators as they are, anything else as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"X-Auth-Token": self.cloud.token if token is None else token, "Content-Type": kind}
        sent.setdefault("Accept", "application/json")
        is_raw = body is None or isinstance(body, bytes) or hasattr(body, "__aiter__")
        data = body if is_raw else json.dumps(body)
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        url = f"{self.cloud.url}/image{path if path.startswith('/v2') else f'/v2{path}'}"
        async with self.http.request(method, url, data=data, headers=sent) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            told = json.loads(raw) if raw and is_json else raw
            return Reply(answer.status, dict(answer.headers), told)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """A request that must succeed."""
        reply = await self.call(method, path, body, **more)
        assert reply.status < 300, (method, path, reply)
        return reply

    async def refused(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> str:
        """A request that must fail so; what the client is told."""
        reply = await self.call(method, path, body, **more)
        assert reply.status == status, (method, path, reply)
        return str(reply.body["message"]) if isinstance(reply.body, dict) else ""

    async def make(self, *, token: str | None = None, **fields: Any) -> dict[str, Any]:
        """A new image, raw and bare unless it is said otherwise."""
        said = {
            "name": f"image-{next(_numbers)}",
            "disk_format": "raw",
            "container_format": "bare",
            **fields,
        }
        found: dict[str, Any] = (await self.ok("POST", "/images", said, token=token)).body
        return found

    async def show(self, ident: str, **more: Any) -> dict[str, Any]:
        """An image."""
        found: dict[str, Any] = (await self.ok("GET", f"/images/{ident}", **more)).body
        return found

    async def upload(self, ident: str, data: Any, *, into: str = "file", **more: Any) -> Reply:
        """PUT of its bytes."""
        return await self.call("PUT", f"/images/{ident}/{into}", data, kind=OCTETS, **more)

    async def active(self, data: bytes = b"bytes", **fields: Any) -> dict[str, Any]:
        """A new image with these bytes."""
        made = await self.make(**fields)
        reply = await self.upload(made["id"], data)
        assert reply.status == 204, reply
        return await self.show(made["id"])

    async def user(self, *roles: str) -> tuple[str, str]:
        """A new user's project and token."""
        project = await self.cloud.make("project")
        user = await self.cloud.user(*roles, project=project["id"])
        return project["id"], await self.cloud.token_of(user, {"project": {"id": project["id"]}})


def sha512(data: bytes) -> str:
    """In hex."""
    return hashlib.sha512(data).hexdigest()


@contextlib.asynccontextmanager
async def started(
    folder: Path,
    database: str,
    objects: ObjectStore,
    settings: Settings | None = None,
    *,
    host: str = "here",
) -> AsyncIterator[Pictures]:
    """A process of identity and images."""
    clock = MovedClock()
    config = CloudConfig(
        str(folder), SECRET, "127.0.0.1", 0, "http://cloud", "http://store", database, 1.0, node=host
    )
    with opened(config, clock) as identity:
        initialise(config, identity, {"admin": PASSWORD})
        service = IdentityService(identity)
        site = site_of(config, identity, service, objects)
        async with (
            image_room(site, settings) as images,
            aiohttp.ClientSession() as session,
        ):
            mounts = [Mount("/identity", service), Mount("", service), Mount("/image", images)]
            app = CloudApp(mounts, identity.randomness)
            async with serve(app, "127.0.0.1", 0, 1.0) as port:
                cloud = Cloud(f"http://127.0.0.1:{port}", session, identity, clock)
                admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
                scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
                reply = await cloud.log_in(scope, password={"user": admin})
                cloud.token = reply.headers["X-Subject-Token"]
                yield Pictures(cloud, session, site)
