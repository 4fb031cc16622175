"""Attachments, by their own API and by the old actions; exports are used with nbdinfo and qemu-io."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from compute.objects.errors import StoreAway
from compute.objects.memory import MemoryStore
from tests.compute.volume.whole import Whole, started

CONNECTOR = {"host": "client", "mountpoint": "/dev/vdb", "ip": "127.0.0.1"}
GIB = 1 << 30


@pytest.fixture
def objects() -> MemoryStore:
    """The store of volumes' extents."""
    return MemoryStore()


@pytest.fixture
async def cloud(database: str, tmp_path: Path, objects: MemoryStore) -> AsyncIterator[Whole]:
    """One process."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(started(tmp_path, database, objects))


async def run(*command: str) -> tuple[int, str]:
    """A program's end and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def uri(info: dict[str, Any]) -> str:
    """Of an export on a Unix socket."""
    return f"nbd+unix:///{info['export']}?socket={info['unix']}"


async def exported(info: dict[str, Any]) -> dict[str, Any] | None:
    """What nbdinfo finds there; None for nothing."""
    code, said = await run("nbdinfo", "--json", uri(info))
    if code:
        return None
    found: dict[str, Any] = json.loads(said)["exports"][0]
    return found


async def attach(cloud: Whole, volume_id: str, **fields: Any) -> dict[str, Any]:
    body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": str(uuid.uuid4()), **fields}}
    made: dict[str, Any] = (await cloud.ok("POST", "/attachments", body))["attachment"]
    return made


async def state(cloud: Whole, volume_id: str) -> str:
    status: str = (await cloud.show("volumes", volume_id))["status"]
    return status


async def test_reserved_then_connected_then_complete_then_given_back(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await attach(cloud, volume["id"])
    assert (made["status"], made["connection_info"]) == ("reserved", {})
    assert await state(cloud, volume["id"]) == "reserved"

    where = f"/attachments/{made['id']}"
    reply = await cloud.ok("PUT", where, {"attachment": {"connector": CONNECTOR}})
    info = reply["attachment"]["connection_info"]
    assert (info["driver_volume_type"], info["attachment_id"]) == ("nbd", made["id"])
    found = await exported(info)
    assert found is not None
    assert found["export-size"] == GIB
    assert not found["is_read_only"]
    assert await state(cloud, volume["id"]) == "attaching"

    assert (await cloud.call("POST", f"{where}/action", {"os-complete": None})).status == 204
    shown = await cloud.show("volumes", volume["id"])
    assert shown["status"] == "in-use"
    (use,) = shown["attachments"]
    assert (use["attachment_id"], use["device"]) == (made["id"], "/dev/vdb")
    assert use["server_id"] == made["instance"]

    reply = await cloud.ok("DELETE", where)
    assert reply["attachments"] == []
    assert await exported(info) is None
    shown = await cloud.show("volumes", volume["id"])
    assert (shown["status"], shown["attachments"]) == ("available", [])
    await cloud.refused(404, "GET", where)


async def test_what_is_written_through_one_export_is_read_through_the_next(cloud: Whole) -> None:
    volume = await cloud.volume()
    for command in ("write -P 7 1M 64k", "read -P 7 1M 64k"):
        made = await attach(cloud, volume["id"], connector=CONNECTOR)
        target = ("-f", "raw", uri(made["connection_info"]))
        code, said = await run("qemu-io", "-c", command, *target)
        assert code == 0, said
        assert "failed" not in said
        await cloud.ok("DELETE", f"/attachments/{made['id']}")


@pytest.mark.parametrize("how", ["mode", "flag"])
async def test_for_reading_alone(cloud: Whole, how: str) -> None:
    volume = await cloud.volume()
    if how == "flag":
        await cloud.act(volume["id"], "os-update_readonly_flag", {"readonly": True})
    more = {"mode": "ro"} if how == "mode" else {}
    made = await attach(cloud, volume["id"], connector=CONNECTOR, **more)
    assert made["attach_mode"] == "ro"
    assert made["connection_info"]["access_mode"] == "ro"
    found = await exported(made["connection_info"])
    assert found is not None
    assert found["is_read_only"]


async def test_an_attached_volume_is_kept_and_grows(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await attach(cloud, volume["id"], connector=CONNECTOR)
    for path in ("", "?force=true"):
        await cloud.refused(400, "DELETE", f"/volumes/{volume['id']}{path}")
    await cloud.ok("POST", f"/attachments/{made['id']}/action", {"os-complete": {}})
    await cloud.act(volume["id"], "os-extend", {"new_size": 2})
    await cloud.until("volumes", volume["id"], "in-use")
    found = await exported(made["connection_info"])
    assert found is not None
    assert found["export-size"] == 2 * GIB
    snapshot = await cloud.snapshot(volume["id"])
    assert snapshot["size"] == 2


async def test_one_user_at_a_time(cloud: Whole) -> None:
    volume = await cloud.volume()
    first = await attach(cloud, volume["id"])
    body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": str(uuid.uuid4())}}
    said = await cloud.refused(400, "POST", "/attachments", body)
    assert "must be available to reserve, but the current status is reserved" in said
    # the same server may, it moves from host to host; but both can't be connected
    body["attachment"]["instance_uuid"] = first["instance"]
    second = (await cloud.ok("POST", "/attachments", body))["attachment"]
    wanted = {"attachment": {"connector": CONNECTOR}}
    await cloud.ok("PUT", f"/attachments/{first['id']}", wanted)
    said = await cloud.refused(409, "PUT", f"/attachments/{second['id']}", wanted)
    assert "duplicate connectors" in said
    await cloud.ok("DELETE", f"/attachments/{first['id']}")
    assert await state(cloud, volume["id"]) == "reserved"
    await cloud.ok("PUT", f"/attachments/{second['id']}", wanted)


async def test_lists_show_a_projects_own(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await attach(cloud, volume["id"])
    _, stranger = await cloud.user("member")
    for path in ("/attachments", "/attachments/detail"):
        for query in ("", f"?volume_id={volume['id']}", "?status=reserved"):
            rows = (await cloud.ok("GET", path + query))["attachments"]
            assert [row["id"] for row in rows] == [made["id"]]
        assert (await cloud.ok("GET", f"{path}?status=attached"))["attachments"] == []
        assert (await cloud.ok("GET", path, token=stranger))["attachments"] == []
    where = f"/attachments/{made['id']}"
    for method in ("GET", "DELETE"):
        await cloud.refused(404, method, where, token=stranger)
    await cloud.refused(404, "GET", where, version="3.26")
    body = {"attachment": {"volume_uuid": volume["id"]}}
    await cloud.refused(404, "POST", "/attachments", body, token=stranger)
    assert (await cloud.call("GET", where, token=stranger, version="3.44")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"attachment": {}},
        {"attachment": {"volume_uuid": "x"}},
        {"attachment": {"volume_uuid": str(uuid.UUID(int=1)), "more": 1}},
        {"attachment": {"volume_uuid": str(uuid.UUID(int=1)), "mode": "both"}},
    ],
)
async def test_bodies_that_are_none(cloud: Whole, body: Any) -> None:
    await cloud.refused(400, "POST", "/attachments", body)


async def test_a_connector_must_be_one(cloud: Whole) -> None:
    volume = await cloud.volume()
    for connector in ({"host": 7}, {"mode": ["rw"]}, {"more": "x" * 70_000}):
        body = {"attachment": {"volume_uuid": volume["id"], "connector": connector}}
        await cloud.refused(400, "POST", "/attachments", body)
        assert await state(cloud, volume["id"]) == "available"


async def test_the_old_actions(cloud: Whole) -> None:
    volume = await cloud.volume()
    ident = volume["id"]
    where = f"/volumes/{ident}/action"
    await cloud.act(ident, "os-reserve")
    said = await cloud.refused(400, "POST", where, {"os-reserve": None})
    assert "must be available to reserve, but the status is attaching" in said
    await cloud.act(ident, "os-unreserve")
    assert await state(cloud, ident) == "available"

    await cloud.act(ident, "os-reserve")
    reply = await cloud.act(ident, "os-initialize_connection", {"connector": CONNECTOR})
    info = reply["connection_info"]
    assert info["driver_volume_type"] == "nbd"
    assert await exported(info["data"]) is not None
    again = await cloud.act(ident, "os-initialize_connection", {"connector": CONNECTOR})
    assert again["connection_info"] == info
    assert (await cloud.ok("GET", "/attachments"))["attachments"] == []

    server = str(uuid.uuid4())
    await cloud.act(ident, "os-attach", {"instance_uuid": server, "mountpoint": "/dev/vdc"})
    shown = await cloud.show("volumes", ident)
    assert shown["status"] == "in-use"
    assert shown["attachments"][0]["server_id"] == server
    said = await cloud.refused(400, "POST", where, {"os-attach": {"mountpoint": "/dev/vdc"}})
    await cloud.act(ident, "os-begin_detaching")
    assert await state(cloud, ident) == "detaching"
    await cloud.act(ident, "os-roll_detaching")
    assert await state(cloud, ident) == "in-use"
    await cloud.act(ident, "os-terminate_connection", {"connector": CONNECTOR})
    assert await exported(info["data"]) is None
    attachment_id = shown["attachments"][0]["attachment_id"]
    other = {"os-detach": {"attachment_id": str(uuid.uuid4())}}
    await cloud.refused(404, "POST", where, other)
    await cloud.act(ident, "os-detach", {"attachment_id": attachment_id})
    assert await state(cloud, ident) == "available"
    said = await cloud.refused(400, "POST", where, {"os-begin_detaching": None})
    assert said.endswith("attach_status must be 'attached' to detach.")


async def test_force_detach_ends_all_and_is_the_administrators(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await attach(cloud, volume["id"], connector=CONNECTOR)
    _, stranger = await cloud.user("member")
    body = {"os-force_detach": {"attachment_id": made["id"], "connector": None}}
    where = f"/volumes/{volume['id']}/action"
    await cloud.refused(404, "POST", where, body, token=stranger)
    await cloud.ok("POST", where, body)
    assert await exported(made["connection_info"]) is None
    assert await state(cloud, volume["id"]) == "available"


async def test_an_old_connection_counts_for_new_attachments(cloud: Whole) -> None:
    volume = await cloud.volume()
    await cloud.act(volume["id"], "os-initialize_connection", {"connector": CONNECTOR})
    body = {"attachment": {"volume_uuid": volume["id"], "connector": CONNECTOR}}
    await cloud.refused(409, "POST", "/attachments", body)
    await cloud.refused(400, "DELETE", f"/volumes/{volume['id']}")
    await cloud.act(volume["id"], "os-terminate_connection", {"connector": None})
    await cloud.ok("POST", "/attachments", body)


async def test_a_reservation_goes_with_its_volume(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await attach(cloud, volume["id"])
    await cloud.act(volume["id"], "os-force_delete", {})
    await cloud.until("volumes", volume["id"])
    await cloud.refused(404, "GET", f"/attachments/{made['id']}")


class _Away(MemoryStore):
    """A store that is away while a test says so."""

    away = False

    async def get(self, *args: Any, **more: Any) -> bytes:
        if self.away:
            raise StoreAway("for now")
        return await super().get(*args, **more)

    async def listing(self, *args: Any, **more: Any) -> Any:
        if self.away:
            raise StoreAway("for now")
        return await super().listing(*args, **more)


async def test_a_store_that_is_away_leaves_nothing(database: str, tmp_path: Path) -> None:
    objects = _Away()
    async with started(tmp_path, database, objects) as cloud:
        volume = await cloud.volume()
        reserved = await attach(cloud, (await cloud.volume())["id"])
        objects.away = True
        body = {"attachment": {"volume_uuid": volume["id"], "connector": CONNECTOR}}
        await cloud.refused(503, "POST", "/attachments", body)
        assert await state(cloud, volume["id"]) == "available"
        wanted = {"attachment": {"connector": CONNECTOR}}
        where = f"/attachments/{reserved['id']}"
        await cloud.refused(503, "PUT", where, wanted)
        assert (await cloud.ok("GET", where))["attachment"]["status"] == "reserved"
        objects.away = False
        await cloud.ok("PUT", where, wanted)
        await cloud.ok("POST", "/attachments", body)


async def test_a_volume_that_is_lost_is_told_and_leaves_nothing(
    cloud: Whole, objects: MemoryStore
) -> None:
    volume = await cloud.volume()
    for row in await objects.listing("volumes"):
        await objects.delete("volumes", row.name)
    body = {"attachment": {"volume_uuid": volume["id"], "connector": CONNECTOR}}
    said = await cloud.refused(500, "POST", "/attachments", body)
    assert said == "Unable to create attachment for volume."
    assert await state(cloud, volume["id"]) == "available"
    assert (await cloud.ok("GET", "/attachments"))["attachments"] == []
    connect = {"os-initialize_connection": {"connector": CONNECTOR}}
    said = await cloud.refused(500, "POST", f"/volumes/{volume['id']}/action", connect)
    assert said == "Unable to fetch connection information from backend."


async def test_exports_are_there_again_after_a_restart(
    database: str, tmp_path: Path, objects: MemoryStore
) -> None:
    async with started(tmp_path, database, objects) as cloud:
        volume = await cloud.volume()
        made = await attach(cloud, volume["id"], connector=CONNECTOR)
        name, socket = made["connection_info"]["export"], made["connection_info"]["unix"]
    assert await exported({"export": name, "unix": socket}) is None
    async with started(tmp_path, database, objects) as cloud:
        where = f"/attachments/{made['id']}"
        async with asyncio.timeout(30):
            while True:
                info = (await cloud.ok("GET", where))["attachment"]["connection_info"]
                if info["unix"] != socket and await exported(info) is not None:
                    break
                await asyncio.sleep(0.05)
        assert info["export"] == name
        await cloud.ok("DELETE", where)
        assert await state(cloud, volume["id"]) == "available"


async def test_another_host_exports_what_is_its_own(
    database: str, tmp_path: Path, objects: MemoryStore
) -> None:
    if database.startswith("sqlite"):
        return
    async with (
        started(tmp_path, database, objects, "first") as first,
        started(tmp_path, database, objects, "second") as second,
    ):
        volume = await first.volume()
        other = second if volume["os-vol-host-attr:host"].startswith("first") else first
        made = await attach(other, volume["id"], connector=CONNECTOR)
        assert await exported(made["connection_info"]) is not None
        await other.ok("DELETE", f"/attachments/{made['id']}")
        assert await exported(made["connection_info"]) is None
        assert await state(first, volume["id"]) == "available"
