"""Identity, images and volumes on one port within the test, on an object store's twin in memory.

What is asked for is done as in a real process: by tasks that look at the rows.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from compute.cloud import CloudConfig, initialise, opened, site_of
from compute.identity.service import IdentityService
from compute.image.room import opened as image_room
from compute.image.settings import Settings as ImageSettings
from compute.objects.contract import ObjectStore
from compute.server.app import CloudApp, Mount
from compute.server.listen import serve
from compute.site import Site
from compute.volume.room import opened as volume_room
from compute.volume.settings import Settings
from tests.compute.identity.cloud import PASSWORD, SECRET, Cloud, MovedClock
from tests.compute.image.cloud import Pictures
from tests.compute.volume.cloud import Volumes

LOOK_S = 0.05
WITHIN_S = 60.0


class Whole(Volumes):
    """A process with all its rooms."""

    def __init__(self, cloud: Cloud, pictures: Pictures, site: Site) -> None:
        super().__init__(cloud)
        self.pictures = pictures
        self.site = site

    async def volume(self, *, token: str | None = None, **fields: Any) -> dict[str, Any]:
        """A new volume of 1 GiB, once it is available."""
        body = {"volume": {"size": 1, **fields}}
        made = (await self.ok("POST", "/volumes", body, token=token))["volume"]
        return await self.until("volumes", made["id"], "available")

    async def snapshot(self, volume_id: str, **fields: Any) -> dict[str, Any]:
        """A new snapshot, once it is available."""
        body = {"snapshot": {"volume_id": volume_id, "force": True, **fields}}
        made = (await self.ok("POST", "/snapshots", body, version="3.50"))["snapshot"]
        return await self.until("snapshots", made["id"], "available")

    async def show(self, noun: str, ident: str) -> dict[str, Any]:
        """What the API says of one."""
        found: dict[str, Any] = (await self.ok("GET", f"/{noun}/{ident}"))[noun[:-1]]
        return found

    async def until(self, noun: str, ident: str, *statuses: str) -> dict[str, Any]:
        """Wait for one of these statuses; none of them: until it is gone."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                reply = await self.call("GET", f"/{noun}/{ident}")
                if reply.status == 404 and not statuses:
                    return {}
                if reply.status == 200 and reply[noun[:-1]]["status"] in statuses:
                    found: dict[str, Any] = reply[noun[:-1]]
                    return found
                assert reply.status in (200, 404), reply
                await asyncio.sleep(LOOK_S)

    async def act(self, volume_id: str, action: str, fields: Any = None, **more: Any) -> Any:
        """An action that must succeed."""
        return await self.ok("POST", f"/volumes/{volume_id}/action", {action: fields}, **more)


@contextlib.asynccontextmanager
async def started(
    folder: Path,
    database: str,
    objects: ObjectStore,
    host: str = "here",
    backends: tuple[str, ...] = ("ring",),
    **settings: Any,
) -> AsyncIterator[Whole]:
    """A process, bootstrapped. settings: of volumes, beside their backends.

    Its sockets are in a folder whose name is short enough for them.
    """
    clock = MovedClock()
    with tempfile.TemporaryDirectory() as short:
        config = CloudConfig(
            short, SECRET, "127.0.0.1", 0, "http://cloud", "http://store", database, 1.0, node=host
        )
        with opened(config, clock) as identity:
            initialise(config, identity, {"admin": PASSWORD})
            service = IdentityService(identity)
            site = site_of(config, identity, service, objects)
            async with (
                image_room(site, ImageSettings()) as images,
                volume_room(site, images.library, Settings(backends=backends, **settings)) as volumes,
                serve(
                    CloudApp(
                        [
                            Mount("/image", images),
                            Mount("/volume", volumes),
                            Mount("", service),
                        ],
                        identity.randomness,
                    ),
                    "127.0.0.1",
                    0,
                    1.0,
                ) as port,
                aiohttp.ClientSession() as session,
            ):
                cloud = Cloud(f"http://127.0.0.1:{port}", session, identity, clock)
                admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
                scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
                cloud.token = (await cloud.log_in(scope, password={"user": admin})).headers[
                    "X-Subject-Token"
                ]
                yield Whole(cloud, Pictures(cloud, session, site), site)
