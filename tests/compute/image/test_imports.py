"""Imports: staged, downloaded or copied, into one store or several; whatever fails leaves nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import update

from compute.image.imports.web import passes
from compute.image.models import Effort, Image, Task
from compute.image.settings import Settings
from compute.objects.contract import Data, Stored
from compute.objects.errors import StoreRefused
from compute.objects.memory import MemoryStore
from tests.compute.identity.cloud import PASSWORD
from tests.compute.image.cloud import Pictures, sha512, started
from tests.compute.image.formats.samples import DISK_BYTES, create

DATA = b"an image's bytes" * 100_000
DIRECT = {"method": {"name": "glance-direct"}}
COPY = {"method": {"name": "copy-image"}}


async def ended(pictures: Pictures, ident: str) -> dict[str, Any]:
    """The image's newest task, when it has ended."""
    while True:
        tasks = (await pictures.ok("GET", f"/images/{ident}/tasks"))["tasks"]
        if tasks and tasks[-1]["status"] in ("success", "failure"):
            found: dict[str, Any] = tasks[-1]
            return found
        await asyncio.sleep(0.01)


async def staged(pictures: Pictures, data: bytes = DATA, **fields: Any) -> str:
    """A staged image's id."""
    made = await pictures.make(**fields)
    assert (await pictures.upload(made["id"], data, into="stage")).status == 204
    assert (await pictures.show(made["id"]))["status"] == "uploading"
    return str(made["id"])


async def empty(objects: MemoryStore, *containers: str) -> None:
    """Wait until nothing is there."""
    while any(objects.containers.get(name) for name in containers):
        await asyncio.sleep(0.01)


async def test_what_was_staged_is_imported(pictures: Pictures, objects: MemoryStore) -> None:
    ident = await staged(pictures)
    await pictures.refused(409, "PUT", f"/images/{ident}/stage", b"x", kind="application/octet-stream")
    reply = await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
    assert reply.status == 202
    task = await ended(pictures, ident)
    assert (task["status"], task["type"]) == ("success", "api_image_import")
    assert task["request_id"] == reply.headers["x-openstack-request-id"]
    assert task["input"]["import_req"] == DIRECT
    shown = await pictures.show(ident)
    assert (shown["status"], shown["stores"], shown["os_hash_value"]) == (
        "active",
        "default",
        sha512(DATA),
    )
    assert shown["os_glance_importing_to_stores"] == shown["os_glance_failed_import"] == ""
    assert (await pictures.ok("GET", f"/images/{ident}/file")).body == DATA
    await empty(objects, "images-staging")
    await pictures.refused(409, "POST", f"/images/{ident}/import", DIRECT)


async def test_into_all_stores_and_out_of_one(pictures: Pictures, objects: MemoryStore) -> None:
    ident = await staged(pictures)
    await pictures.ok("POST", f"/images/{ident}/import", {**DIRECT, "all_stores": True})
    await ended(pictures, ident)
    assert (await pictures.show(ident))["stores"] == "default,second"
    await pictures.ok("DELETE", f"/stores/second/{ident}")
    await empty(objects, "images-second")
    await pictures.refused(403, "DELETE", f"/stores/default/{ident}")
    await pictures.refused(404, "DELETE", f"/stores/third/{ident}")
    assert (await pictures.ok("GET", f"/images/{ident}/file")).body == DATA


async def test_a_copy_goes_to_the_other_stores(pictures: Pictures) -> None:
    image = await pictures.active(DATA)
    path = f"/images/{image['id']}/import"
    await pictures.refused(400, "POST", path, {**COPY, "stores": ["default"]})
    await pictures.refused(409, "POST", path, {**COPY, "stores": ["third"]})
    await pictures.ok("POST", path, {**COPY, "all_stores": True})
    assert (await ended(pictures, image["id"]))["status"] == "success"
    assert (await pictures.show(image["id"]))["stores"] == "default,second"
    assert (await pictures.call("POST", path, {**COPY, "all_stores": True})).status == 202
    assert len((await pictures.ok("GET", f"/images/{image['id']}/tasks"))["tasks"]) == 1


async def test_a_copy_with_nothing_to_copy_is_over_at_once(database: str, tmp_path: Path) -> None:
    async with started(tmp_path, database, MemoryStore()) as pictures:
        image = await pictures.active()
        await pictures.ok("POST", f"/images/{image['id']}/import", {**COPY, "all_stores": True})
        shown = await pictures.show(image["id"])
        assert shown["os_glance_importing_to_stores"] == shown["os_glance_failed_import"] == ""


async def test_a_wrong_claim_fails_the_import(pictures: Pictures, objects: MemoryStore) -> None:
    ident = await staged(pictures, disk_format="qcow2")
    await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
    task = await ended(pictures, ident)
    assert task["status"] == "failure"
    assert task["message"] == "Image disk_format qcow2 does not match stream data raw"
    assert (await pictures.show(ident))["status"] == "queued"
    await empty(objects, "images-staging", "images-default")
    assert (await pictures.upload(ident, b"x", into="stage")).status == 204


async def test_a_staged_image_that_is_deleted_is_gone(pictures: Pictures, objects: MemoryStore) -> None:
    ident = await staged(pictures)
    await pictures.ok("DELETE", f"/images/{ident}")
    await empty(objects, "images-staging")


class Refusing(MemoryStore):
    """Takes nothing into some containers."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: set[str] = set()

    async def put(self, container: str, name: str, data: Data, **more: Any) -> Stored:
        """Raises StoreRefused."""
        if container in self.closed:
            raise StoreRefused(507, "no room")
        return await super().put(container, name, data, **more)


@pytest.fixture
def objects() -> Refusing:
    """A store that may refuse."""
    return Refusing()


@pytest.mark.parametrize("closed", ["images-default", "images-second"])
async def test_a_store_that_fails(pictures: Pictures, objects: Refusing, closed: str) -> None:
    objects.closed.add(closed)
    name = closed.removeprefix("images-")
    ident = await staged(pictures)
    await pictures.ok("POST", f"/images/{ident}/import", {**DIRECT, "all_stores": True})
    assert (await ended(pictures, ident))["status"] == "failure"
    shown = await pictures.show(ident)
    assert shown["status"] == "queued"
    assert name in shown["os_glance_failed_import"]
    await empty(objects, "images-staging", "images-default", "images-second")
    other = await staged(pictures)
    body = {**DIRECT, "all_stores": True, "all_stores_must_succeed": False}
    await pictures.ok("POST", f"/images/{other}/import", body)
    assert (await ended(pictures, other))["status"] == "success"
    shown = await pictures.show(other)
    assert shown["os_glance_failed_import"] == name
    assert shown["stores"] == ({"default", "second"} - {name}).pop()


@contextlib.asynccontextmanager
async def web_server() -> AsyncIterator[str]:
    """Serves DATA, a redirect to it, and half of it."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/image":
            return web.Response(body=DATA)
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/image"})
        if request.path == "/half":
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await response.write(DATA[:1000])
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(status=404)

    class App:
        async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
            return await handle(request)

    server = web.Server(App().handle)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def download(uri: str) -> dict[str, Any]:
    """The body of such an import."""
    return {"method": {"name": "web-download", "uri": uri}}


async def test_images_come_from_the_web(pictures: Pictures, objects: MemoryStore) -> None:
    async with web_server() as url:
        image = await pictures.make()
        await pictures.ok("POST", f"/images/{image['id']}/import", download(f"{url}/image"))
        assert (await ended(pictures, image["id"]))["status"] == "success"
        assert (await pictures.show(image["id"]))["os_hash_value"] == sha512(DATA)
        await pictures.ok("DELETE", f"/images/{image['id']}")
        for path in ("moved", "half", "none"):
            image = await pictures.make()
            await pictures.ok("POST", f"/images/{image['id']}/import", download(f"{url}/{path}"))
            assert (await ended(pictures, image["id"]))["status"] == "failure"
            assert (await pictures.show(image["id"]))["status"] == "queued"
        await empty(objects, "images-default")
    image = await pictures.make()
    for uri in ("http://127.0.0.2/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "", None):
        await pictures.refused(400, "POST", f"/images/{image['id']}/import", download(uri or ""))


def test_which_urls_pass() -> None:
    anywhere = Settings()
    for url in ("http://example.org/x", "https://example.org/", "http://93.184.216.34/x"):
        assert passes(url, anywhere)
    refused: tuple[Any, ...] = (
        "http://127.0.0.1/x",
        "http://[::1]/x",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://example.org:22/",
        "http://user@example.org/",
        "http://[::ffff:127.0.0.1]/",
        "gopher://example.org/",
        "http:///x",
        "http://example.org:x/",
        7,
    )
    for url in refused:
        assert not passes(url, anywhere), url
    assert passes("http://127.0.0.1:8080/", Settings(web_hosts=("127.0.0.1",), web_ports=()))
    assert not passes("http://example.org/", Settings(web_hosts=("other.org",)))


async def test_bodies_are_checked(pictures: Pictures) -> None:
    image = await pictures.make()
    path = f"/images/{image['id']}/import"
    for status, body in (
        (400, {}),
        (400, {"method": {}}),
        (400, {"method": {"name": "shoe"}}),
        (400, {**DIRECT, "all_stores": 1}),
        (400, {**DIRECT, "stores": ["default"], "all_stores": True}),
        (409, DIRECT),
        (409, COPY),
        (501, {"method": {"name": "glance-download"}}),
    ):
        await pictures.refused(status, "POST", path, body)
    bare = await pictures.ok("POST", "/images", {"name": "no formats"})
    await pictures.refused(409, "POST", f"/images/{bare['id']}/import", download("http://127.0.0.1/"))


async def test_tasks_are_the_administrators(pictures: Pictures) -> None:
    ident = await staged(pictures)
    await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
    task = await ended(pictures, ident)
    assert (await pictures.ok("GET", f"/tasks/{task['id']}")).body == task
    (listed,) = (await pictures.ok("GET", "/tasks?status=success"))["tasks"]
    assert listed["id"] == task["id"]
    assert "input" not in listed
    _, token = await pictures.user("member", "reader")
    await pictures.refused(403, "GET", "/tasks", token=token)
    await pictures.refused(405, "DELETE", f"/tasks/{task['id']}")
    await pictures.refused(404, "GET", "/tasks/none")
    await pictures.refused(400, "POST", "/tasks", {"type": "import"})


class Stuck(MemoryStore):
    """Takes nothing into the images' container, nor refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.open = False

    async def put(self, container: str, name: str, data: Data, **more: Any) -> Stored:
        """For ever, until it is open."""
        if container == "images-default" and not self.open:
            self.reached.set()
            await asyncio.Event().wait()
        return await super().put(container, name, data, **more)


async def test_an_import_that_was_stopped_has_failed(database: str, tmp_path: Path) -> None:
    objects = Stuck()
    async with started(tmp_path, database, objects) as pictures:
        ident = await staged(pictures)
        await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
        await objects.reached.wait()
        assert (await pictures.show(ident))["status"] == "importing"
    objects.open = True
    async with started(tmp_path, database, objects) as pictures:
        assert (await pictures.show(ident))["status"] == "queued"
        assert (await ended(pictures, ident))["status"] == "failure"
        await empty(objects, "images-staging", "images-default")


async def test_a_host_that_was_killed_gives_up_what_it_did(database: str, tmp_path: Path) -> None:
    objects = MemoryStore()
    async with started(tmp_path, database, objects) as pictures:
        ident = await staged(pictures)
        await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
        await ended(pictures, ident)
        saving = (await pictures.make())["id"]
        site = pictures.site
        with site.database.write("image") as session:  # as a kill in the midst of both leaves it
            session.execute(update(Task).values(status="processing"))
            session.execute(update(Image).where(Image.id == ident).values(status="importing"))
            session.execute(update(Image).where(Image.id == saving).values(status="saving"))
            left = Effort(
                id="left",
                image_id=saving,
                container="images-default",
                prefix=f"{saving}/left/",
                host="here",
                due_us=0,
            )
            session.add(left)
        await objects.put("images-default", f"{saving}/left/000000", b"half")
    async with started(tmp_path, database, objects, host="another"):
        pass
    assert objects.containers["images-default"], "another host's work was taken for given up"
    async with started(tmp_path, database, objects) as pictures:
        for each in (ident, saving):
            assert (await pictures.show(each))["status"] == "queued"
        assert (await ended(pictures, ident))["status"] == "failure"
        await empty(objects, "images-default")


async def test_images_are_converted(database: str, tmp_path: Path) -> None:
    data = create(tmp_path / "image", "vmdk")
    folder = tmp_path / "cloud"
    folder.mkdir()
    settings = Settings(convert_to="qcow2")
    async with started(folder, database, MemoryStore(), settings) as pictures:
        ident = await staged(pictures, data, disk_format="vmdk")
        await pictures.ok("POST", f"/images/{ident}/import", DIRECT)
        assert (await ended(pictures, ident))["status"] == "success"
        shown = await pictures.show(ident)
        assert (shown["disk_format"], shown["virtual_size"]) == ("qcow2", DISK_BYTES)
        assert (await pictures.ok("GET", f"/images/{ident}/file")).body.startswith(b"QFI\xfb")
        broken = await staged(pictures, data[:1_000], disk_format="vmdk")
        await pictures.ok("POST", f"/images/{broken}/import", DIRECT)
        assert (await ended(pictures, broken))["status"] == "failure"
    assert not list(folder.glob("conversion-*"))
    (folder / "conversion-left").mkdir()
    async with started(folder, database, MemoryStore(), settings) as pictures:
        assert not list(folder.glob("conversion-*"))
        pictures.cloud.clock.ahead_s = 49 * 3600
        pictures.cloud.token = await admin_token(pictures)
        fresh = await pictures.active()  # whose deletion wakes who forgets old tasks
        await pictures.ok("DELETE", f"/images/{fresh['id']}")
        while (await pictures.ok("GET", "/tasks"))["tasks"]:
            await asyncio.sleep(0.01)


async def admin_token(pictures: Pictures) -> str:
    """A new one."""
    admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    reply = await pictures.cloud.log_in(scope, password={"user": admin})
    return reply.headers["X-Subject-Token"]
