"""Default types, messages, filters, extensions, clusters, and matching of extra specs."""

from typing import Any

import pytest

from compute.volume.heartbeat import Heartbeat
from compute.volume.matching import fits
from compute.volume.messages import add_message, forget_old
from compute.volume.models.volumes import Snapshot, Volume
from tests.compute.volume.cloud import Volumes
from tests.compute.volume.rows import add_snapshot, add_volume
from tests.compute.volume.test_services import Room, _site


async def test_a_project_has_a_default_type_of_its_own(volumes: Volumes) -> None:
    project, token = await volumes.user("member")
    kind = await volumes.type("slow")
    where = f"/default-types/{project}"
    await volumes.refused(404, "GET", where)
    body = {"default_type": {"volume_type": "slow"}}
    made = (await volumes.ok("PUT", where, body))["default_type"]
    assert made == {"project_id": project, "volume_type_id": kind["id"]}
    assert (await volumes.ok("GET", where))["default_type"] == made
    assert (await volumes.ok("GET", "/default-types"))["default_types"] == [made]
    assert (await volumes.ok("GET", "/types/default", token=token))["volume_type"]["name"] == "slow"
    assert "default volume type" in await volumes.refused(400, "DELETE", f"/types/{kind['id']}")
    await volumes.refused(403, "PUT", where, body, token=token)
    await volumes.refused(404, "PUT", "/default-types/nobody", body)
    await volumes.refused(400, "PUT", where, {"default_type": {"volume_type": "none such"}})
    await volumes.refused(404, "GET", where, version="3.61")
    assert (await volumes.ok("DELETE", where)).status == 204
    assert (await volumes.ok("DELETE", where)).status == 204
    await volumes.ok("DELETE", f"/types/{kind['id']}")


async def test_messages_are_seen_by_their_project_until_they_expire(volumes: Volumes) -> None:
    project, token = await volumes.user("member")
    _, stranger = await volumes.user("member")
    site = _site(volumes, "h1")
    with site.database.write("volume") as session:
        for number in range(3):
            add_message(session, site, project, "VOLUME", f"v{number}", "001", "003", "req-1")
    listed = (await volumes.ok("GET", "/messages", token=token))["messages"]
    assert {row["resource_uuid"] for row in listed} == {"v0", "v1", "v2"}
    assert listed[0]["user_message"] == (
        "schedule allocate volume:Could not find any available weighted backend."
    )
    assert listed[0]["event_id"] == "VOLUME_VOLUME_001_003"
    (one,) = (await volumes.ok("GET", "/messages?resource_uuid=v1", token=token))["messages"]
    assert (await volumes.ok("GET", f"/messages/{one['id']}", token=token))["message"] == one
    seen, path = [], "/messages?limit=2&sort=created_at:asc"
    while path:
        reply = await volumes.ok("GET", path, token=token)
        seen += [row["id"] for row in reply["messages"]]
        links = reply.body.get("messages_links", [])
        path = links[0]["href"].split("/volume/v3")[1] if links else ""
    assert sorted(seen) == sorted(row["id"] for row in listed)
    await volumes.refused(400, "GET", "/messages?colour=red", token=token)
    await volumes.refused(404, "GET", "/messages", token=token, version="3.2")
    for verb in ("GET", "DELETE"):
        await volumes.refused(404, verb, f"/messages/{one['id']}", token=stranger)
    assert (await volumes.ok("GET", "/messages", token=stranger))["messages"] == []
    assert (await volumes.ok("DELETE", f"/messages/{one['id']}", token=token)).status == 204
    await volumes.refused(404, "GET", f"/messages/{one['id']}", token=token)
    with site.database.write("volume") as session:
        forget_old(session, site.now_us() + 31 * 86_400 * 1_000_000)
    assert (await volumes.ok("GET", "/messages", token=token))["messages"] == []


async def test_filters_extensions_and_no_clusters(volumes: Volumes) -> None:
    found = (await volumes.ok("GET", "/resource_filters?resource=group"))["resource_filters"]
    assert found == [{"resource": "group", "filters": ["name"]}]
    assert len((await volumes.ok("GET", "/resource_filters"))["resource_filters"]) > 5
    extensions = (await volumes.ok("GET", "/extensions"))["extensions"]
    assert "os-volume-type-access" in {row["alias"] for row in extensions}
    assert (await volumes.ok("GET", "/extensions/backups"))["extension"]["name"] == "Backups"
    await volumes.refused(404, "GET", "/extensions/nothing")
    assert (await volumes.ok("GET", "/clusters?binary=cinder-volume")).body == {"clusters": []}
    await volumes.refused(400, "GET", "/clusters/detail?colour=red")
    await volumes.refused(404, "GET", "/clusters/one")
    await volumes.refused(404, "PUT", "/clusters/enable", {"name": "one"})
    await volumes.refused(400, "PUT", "/clusters/disable", {})


async def test_what_a_dead_host_had_begun_is_ended(volumes: Volumes) -> None:
    database = volumes.cloud.identity.database
    await Heartbeat(_site(volumes, "h1"), {"ring": Room()}).beat()
    for ident, status in (("v1", "creating"), ("v2", "deleting"), ("v3", "available")):
        add_volume(database, ident, "p", status=status, host="h1", backend="ring")
    add_volume(database, "v4", "p", status="creating", host="h2", backend="ring")
    add_snapshot(database, "s1", "v3", "p", status="creating")
    found = (await volumes.ok("POST", "/workers/cleanup", {"host": "h1"})).body
    assert found == {"cleaning": [], "unavailable": []}  # it is up
    volumes.cloud.clock.ahead_s += 61
    for body in ({"resource_type": "cat"}, {"binary": "nova"}, {"colour": "red"}):
        await volumes.refused(400, "POST", "/workers/cleanup", body)
    found = (
        await volumes.ok("POST", "/workers/cleanup", {"host": "h1", "resource_type": "snapshot"})
    ).body
    assert [row["host"] for row in found["cleaning"]] == ["h1@ring"]
    with database.read() as session:
        assert session.get_one(Snapshot, "s1").status == "error"
        assert session.get_one(Volume, "v1").status == "creating"
    await volumes.ok("POST", "/workers/cleanup", {"host": "h1"})
    with database.read() as session:
        statuses = [session.get_one(Volume, f"v{number}").status for number in range(1, 5)]
    assert statuses == ["error", "error_deleting", "available", "creating"]
    _, token = await volumes.user("member")
    await volumes.refused(403, "POST", "/workers/cleanup", {}, token=token)


CAPABILITIES: dict[str, Any] = {
    "vendor_name": "Atoll",
    "multiattach": False,
    "free_capacity_gb": 12.5,
    "storage_protocol": ["nbd", "NBD"],
    "nested": {"deep": 3},
}


@pytest.mark.parametrize(
    ("key", "value", "taken"),
    [
        ("vendor_name", "Atoll", True),
        ("vendor_name", "Other", False),
        ("capabilities:vendor_name", "Atoll", True),
        ("capabilities:nested:deep", "== 3", True),
        ("RESKEY:availability_zones", "nova", True),
        ("absent", "x", False),
        ("multiattach", "<is> False", True),
        ("multiattach", "<is> True", False),
        ("storage_protocol", "NBD", True),
        ("free_capacity_gb", ">= 12", True),
        ("free_capacity_gb", "= 13", False),
        ("free_capacity_gb", "< some", False),
        ("vendor_name", "<in> tol", True),
        ("vendor_name", "<or> Other <or> Atoll", True),
        ("vendor_name", "<all-in> At oll", True),
        ("vendor_name", "s!= Atoll", False),
        ("vendor_name", "", False),
    ],
)
def test_extra_specs_ask_for_capabilities(key: str, value: str, taken: bool) -> None:
    assert fits({key: value}, CAPABILITIES) is taken
