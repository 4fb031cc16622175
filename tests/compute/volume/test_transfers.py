"""A volume that is offered to another project, and taken."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from compute.objects.memory import MemoryStore
from compute.volume.transfers import hashed, opens
from tests.compute.volume.whole import Whole, started

PLACES = ("/os-volume-transfer", "/volume-transfers")


@pytest.fixture
async def cloud(database: str, tmp_path: Path) -> AsyncIterator[Whole]:
    """One process."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(started(tmp_path, database, MemoryStore()))


async def offer(cloud: Whole, volume_id: str, place: str = PLACES[1], **fields: Any) -> dict[str, Any]:
    body = {"transfer": {"volume_id": volume_id, "name": "for you", **fields}}
    made: dict[str, Any] = (await cloud.ok("POST", place, body))["transfer"]
    return made


async def used(cloud: Whole, project: str) -> dict[str, int]:
    found = (await cloud.ok("GET", f"/os-quota-sets/{project}?usage=True"))["quota_set"]
    return {name: found[name]["in_use"] for name in ("volumes", "snapshots", "gigabytes")}


@pytest.mark.parametrize("place", PLACES)
async def test_offered_shown_and_taken(cloud: Whole, place: str) -> None:
    project, token = await cloud.user("member")
    volume = await cloud.volume()
    snapshot = await cloud.snapshot(volume["id"])
    made = await offer(cloud, volume["id"], place)
    assert (await cloud.show("volumes", volume["id"]))["status"] == "awaiting-transfer"
    shown = (await cloud.ok("GET", f"{place}/{made['id']}"))["transfer"]
    assert "auth_key" not in shown
    assert shown["name"] == "for you"
    assert shown["no_snapshots"] is False
    for path in (place, f"{place}/detail"):
        assert [row["id"] for row in (await cloud.ok("GET", path))["transfers"]] == [made["id"]]
        assert (await cloud.ok("GET", path, token=token))["transfers"] == []
    await cloud.refused(404, "GET", f"{place}/{made['id']}", token=token)

    where = f"{place}/{made['id']}/accept"
    wrong = {"accept": {"auth_key": "0" * 16}}
    said = await cloud.refused(400, "POST", where, wrong, token=token)
    assert said == f"Invalid auth key: Attempt to transfer {made['id']} with invalid auth key."
    body = {"accept": {"auth_key": made["auth_key"]}}
    reply = await cloud.call("POST", where, body, token=token)
    assert (reply.status, reply["transfer"]["volume_id"]) == (202, volume["id"])
    mine = (await cloud.ok("GET", f"/volumes/{volume['id']}", token=token))["volume"]
    assert (mine["status"], mine["os-vol-tenant-attr:tenant_id"]) == ("available", project)
    await cloud.ok("GET", f"/snapshots/{snapshot['id']}", token=token)
    assert await used(cloud, project) == {"volumes": 1, "snapshots": 1, "gigabytes": 2}
    await cloud.refused(404, "POST", where, body, token=token)


async def test_without_its_snapshots(cloud: Whole) -> None:
    project, token = await cloud.user("member")
    volume = await cloud.volume()
    snapshot = await cloud.snapshot(volume["id"])
    made = await offer(cloud, volume["id"], no_snapshots=True)
    assert made["no_snapshots"] is True
    body = {"accept": {"auth_key": made["auth_key"]}}
    await cloud.ok("POST", f"/volume-transfers/{made['id']}/accept", body, token=token)
    await cloud.refused(404, "GET", f"/snapshots/{snapshot['id']}", token=token)
    assert await used(cloud, project) == {"volumes": 1, "snapshots": 0, "gigabytes": 1}


async def test_an_offer_is_taken_back(cloud: Whole) -> None:
    volume = await cloud.volume()
    made = await offer(cloud, volume["id"])
    body = {"transfer": {"volume_id": volume["id"]}}
    said = await cloud.refused(400, "POST", "/volume-transfers", body)
    assert said == "Invalid volume: status must be available"
    await cloud.refused(400, "DELETE", f"/volumes/{volume['id']}")
    assert (await cloud.call("DELETE", f"/volume-transfers/{made['id']}")).status == 202
    assert (await cloud.show("volumes", volume["id"]))["status"] == "available"
    await cloud.refused(404, "GET", f"/volume-transfers/{made['id']}")


async def test_who_has_no_room_changes_nothing(cloud: Whole) -> None:
    project, token = await cloud.user("member")
    await cloud.ok("PUT", f"/os-quota-sets/{project}", {"quota_set": {"volumes": 0}})
    volume = await cloud.volume()
    made = await offer(cloud, volume["id"])
    body = {"accept": {"auth_key": made["auth_key"]}}
    await cloud.refused(413, "POST", f"/volume-transfers/{made['id']}/accept", body, token=token)
    assert (await cloud.show("volumes", volume["id"]))["status"] == "awaiting-transfer"


async def test_who_may_not(cloud: Whole) -> None:
    volume = await cloud.volume()
    _, stranger = await cloud.user("member")
    _, reader = await cloud.user("reader")
    body = {"transfer": {"volume_id": volume["id"]}}
    await cloud.refused(404, "POST", "/volume-transfers", body, token=stranger)
    made = await offer(cloud, volume["id"])
    await cloud.refused(404, "DELETE", f"/volume-transfers/{made['id']}", token=stranger)
    body = {"accept": {"auth_key": made["auth_key"]}}
    await cloud.refused(403, "POST", f"/volume-transfers/{made['id']}/accept", body, token=reader)
    await cloud.refused(404, "GET", "/volume-transfers", version="3.54")
    nobody = {"transfer": {"volume_id": str(uuid.uuid4())}}
    await cloud.refused(404, "POST", "/volume-transfers", nobody)


async def test_an_offer_after_the_status_was_reset_replaces_the_first(cloud: Whole) -> None:
    volume = await cloud.volume()
    first = await offer(cloud, volume["id"])
    await cloud.act(volume["id"], "os-reset_status", {"status": "available"})
    await cloud.ok("POST", f"/volumes/{volume['id']}/action", {"os-extend": {"new_size": 2}})
    await cloud.until("volumes", volume["id"], "available")
    body = {"accept": {"auth_key": first["auth_key"]}}
    await cloud.refused(400, "POST", f"/volume-transfers/{first['id']}/accept", body)
    second = await offer(cloud, volume["id"])
    rows = (await cloud.ok("GET", "/volume-transfers"))["transfers"]
    assert [row["id"] for row in rows] == [second["id"]]


def test_a_key_opens_its_own_lock_alone() -> None:
    assert opens("salt", hashed("salt", "key"), "key")
    assert not opens("salt", hashed("salt", "key"), "kez")
    assert not opens("pepper", hashed("salt", "key"), "key")
