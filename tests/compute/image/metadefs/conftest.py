"""Metadefs beside identity on one port, on both databases, and a client of them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.compute.identity.cloud import Cloud, Reply, started


class Metadefs:
    """Requests below /image/v2/metadefs. token: the administrator's unless another one is given."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """One request."""
        where = path if path.startswith("/v2") else f"/v2/metadefs{path}"
        return await self.cloud.call(method, f"{self.cloud.url}/image{where}", body, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """A request that must succeed."""
        reply = await self.call(method, path, body, **more)
        assert reply.status < 300, (method, path, reply)
        return reply

    async def refused(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> None:
        """A request that must fail so."""
        reply = await self.call(method, path, body, **more)
        assert reply.status == status, (method, path, reply)

    async def user(self, *roles: str) -> tuple[str, str]:
        """A new user's project and token."""
        project = await self.cloud.make("project")
        user = await self.cloud.user(*roles, project=project["id"])
        return project["id"], await self.cloud.token_of(user, {"project": {"id": project["id"]}})


@pytest.fixture
async def metadefs(database: str, tmp_path: Path) -> AsyncIterator[Metadefs]:
    """One process."""
    async with contextlib.AsyncExitStack() as stack:
        yield Metadefs(await stack.enter_async_context(started(tmp_path, database)))
