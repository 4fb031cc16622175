"""A client of the room of volumes, in a process of the add-on that runs within the test."""

from typing import Any

from tests.compute.identity.cloud import Cloud, Reply

NEWEST = "3.71"


class Volumes:
    """Requests below /volume/v3. token: the administrator's unless another one is given."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        version: str = NEWEST,
    ) -> Reply:
        """One request at a version of the API."""
        url = f"{self.cloud.url}/volume/v3{path}"
        header = {"OpenStack_API_Version": f"volume {version}"}
        return await self.cloud.call(method, url, body, token=token, **header)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """A request that must succeed."""
        reply = await self.call(method, path, body, **more)
        assert reply.status < 300, (method, path, reply)
        return reply

    async def refused(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> str:
        """A request that must fail so; what the client is told."""
        reply = await self.call(method, path, body, **more)
        assert reply.status == status, (method, path, reply)
        ((_, said),) = reply.body.items()
        assert said["code"] == status
        return str(said["message"])

    async def user(self, *roles: str) -> tuple[str, str]:
        """A new user's project and token."""
        project = await self.cloud.make("project")
        user = await self.cloud.user(*roles, project=project["id"])
        return project["id"], await self.cloud.token_of(user, {"project": {"id": project["id"]}})

    async def type(self, name: str, **fields: Any) -> dict[str, Any]:
        """A new volume type."""
        made = await self.ok("POST", "/types", {"volume_type": {"name": name, **fields}})
        found: dict[str, Any] = made["volume_type"]
        return found
