"""A token of an application credential with access rules, at each room of the add-on."""

from pathlib import Path

from compute.objects.memory import MemoryStore
from tests.compute.volume.whole import started

RULES = [
    {"service": "image", "method": "GET", "path": "/v2/images"},
    {"service": "volumev3", "method": "GET", "path": "/v3/{project_id}/volumes/*"},
    {"service": "identity", "method": "GET", "path": "/v3/auth/projects"},
]


async def test_it_is_good_for_what_its_rules_say(database: str, tmp_path: Path) -> None:
    async with started(tmp_path, database, MemoryStore()) as whole:
        cloud = whole.cloud
        project = await cloud.make("project")
        user = await cloud.user("member", project=project["id"])
        token = await cloud.token_of(user, {"project": {"id": project["id"]}})
        body = {"application_credential": {"name": "app", "access_rules": RULES}}
        path = f"/users/{user['id']}/application_credentials"
        app = (await cloud.ok("POST", path, body, token=token))["application_credential"]
        secret = {"id": app["id"], "secret": app["secret"]}
        limited = (await cloud.log_in(application_credential=secret)).headers["X-Subject-Token"]
        for url, status in (
            (f"{cloud.url}/image/v2/images", 200),
            (f"{cloud.url}/image/v2/images?limit=1", 200),
            (f"{cloud.url}/image/v2/images/detail", 401),
            (f"{cloud.url}/volume/v3/{project['id']}/volumes/detail", 200),
            (f"{cloud.url}/volume/v3/{project['id']}/snapshots", 401),
            (f"{cloud.url}/v3/auth/projects", 200),
            (f"{cloud.url}/v3/users/{user['id']}", 401),
        ):
            assert (await cloud.call("GET", url, token=limited)).status == status, url
        made = {"name": "n"}
        reply = await cloud.call("POST", f"{cloud.url}/image/v2/images", made, token=limited)
        assert reply.status == 401
