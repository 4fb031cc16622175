"""Services, hosts, zones, pools, loggers: what operators see and switch."""

import logging
import socket
from typing import Any

from compute.cloud import CloudConfig, site_of
from compute.identity.service import IdentityService
from compute.objects.memory import MemoryStore
from compute.site import Site
from compute.volume.drivers.contract import Usage
from compute.volume.heartbeat import Heartbeat
from compute.volume.pools import fitting, pools
from tests.compute.identity.cloud import SECRET
from tests.compute.volume.cloud import Volumes
from tests.compute.volume.rows import add_snapshot, add_volume

GIB = 1 << 30


class Room:
    """A backend's room."""

    def __init__(self, total: int | None = None, free: int | None = None) -> None:
        self.found = Usage(total, free)

    async def usage(self) -> Usage:
        return self.found


def _site(volumes: Volumes, host: str) -> Site:
    identity = volumes.cloud.identity
    config = CloudConfig("/nowhere", SECRET, "", 0, "", "", node=host)
    return site_of(config, identity, IdentityService(identity), MemoryStore())


async def _beat(volumes: Volumes, host: str, **backends: Room) -> Heartbeat:
    heart = Heartbeat(_site(volumes, host), backends)
    await heart.beat()
    return heart


async def _services(volumes: Volumes, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await volumes.ok("GET", f"/os-services{query}"))["services"]
    return found


async def test_services_give_signs_of_life_and_go_down(volumes: Volumes) -> None:
    await _beat(volumes, "h1", ring=Room(), file=Room(10 * GIB, 4 * GIB))
    hosts = {(row["host"], row["binary"]) for row in await _services(volumes, "?host=h1")}
    assert hosts == {
        ("h1", "cinder-scheduler"),
        ("h1@ring", "cinder-volume"),
        ("h1@file", "cinder-volume"),
    }
    assert {row["state"] for row in await _services(volumes)} == {"up"}
    assert len(await _services(volumes, "?host=h1&binary=cinder-volume")) == 2
    volumes.cloud.clock.ahead_s += 61
    assert {row["state"] for row in await _services(volumes)} == {"down"}
    assert (await volumes.ok("GET", "/scheduler-stats/get_pools"))["pools"] == []
    await _beat(volumes, "h1", ring=Room())
    assert {row["host"] for row in await _services(volumes, "?host=h1") if row["state"] == "up"} == {
        "h1",
        "h1@ring",
    }
    _, token = await volumes.user("member")
    await volumes.refused(403, "GET", "/os-services", token=token)


async def test_services_are_disabled_and_enabled(volumes: Volumes) -> None:
    await _beat(volumes, "h1", ring=Room())
    ring = {"host": "h1@ring", "binary": "cinder-volume"}
    said = (await volumes.ok("PUT", "/os-services/disable", ring)).body
    assert said == {**ring, "service": "", "status": "disabled", "disabled": True}
    own = {"host": f"{socket.gethostname()}@ring", "binary": "cinder-volume"}
    zones = (await volumes.ok("GET", "/os-availability-zone"))["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": True}}]
    await volumes.ok("PUT", "/os-services/disable", own)
    zones = (await volumes.ok("GET", "/os-availability-zone"))["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": False}}]
    with volumes.cloud.identity.database.read() as session:
        now = volumes.cloud.identity.now_us()
        assert fitting(pools(session, now), {}, 1) == []
    reason = {**ring, "disabled_reason": "dust"}
    assert (await volumes.ok("PUT", "/os-services/disable-log-reason", reason))[
        "disabled_reason"
    ] == "dust"
    (row,) = await _services(volumes, "?host=h1&binary=cinder-volume")
    assert (row["status"], row["disabled_reason"]) == ("disabled", "dust")
    await _beat(volumes, "h1", ring=Room())  # which enables nothing
    assert (await _services(volumes, "?host=h1&binary=cinder-volume"))[0]["status"] == "disabled"
    await volumes.ok("PUT", "/os-services/enable", ring)
    (row,) = await _services(volumes, "?host=h1&binary=cinder-volume")
    assert (row["status"], row["disabled_reason"]) == ("enabled", None)
    for verb, body, status in (
        ("enable", {"host": "h9", "binary": "cinder-volume"}, 404),
        ("disable", {"host": "h1", "binary": "nothing"}, 404),
        ("disable", {"host": "h1"}, 400),
        ("disable", {"binary": "cinder-volume"}, 400),
        ("disable-log-reason", {**ring, "disabled_reason": None}, 400),
        ("disable-log-reason", {**ring, "disabled_reason": " "}, 400),
        ("freeze", {"host": "h9"}, 400),
        ("thaw", {"host": "h9"}, 400),
        ("freeze", {}, 400),
        ("failover_host", {"host": "h1"}, 501),
    ):
        await volumes.refused(status, "PUT", f"/os-services/{verb}", body)


async def test_freezing_and_thawing(volumes: Volumes) -> None:
    await _beat(volumes, "h1", ring=Room())
    assert (await volumes.ok("PUT", "/os-services/freeze", {"host": "h1@ring"})).status == 200
    (row,) = await _services(volumes, "?host=h1&binary=cinder-volume")
    assert (row["frozen"], row["status"]) == (True, "disabled")
    await volumes.ok("PUT", "/os-services/thaw", {"host": "h1"})
    (row,) = await _services(volumes, "?host=h1&binary=cinder-volume")
    assert (row["frozen"], row["status"], row["disabled_reason"]) == (False, "enabled", None)


async def test_hosts_show_what_projects_have_there(volumes: Volumes) -> None:
    await _beat(volumes, "h1", ring=Room())
    database = volumes.cloud.identity.database
    add_volume(database, "v1", "p", size_gib=5, host="h1", backend="ring")
    add_volume(database, "v2", "q", size_gib=2, host="h1", backend="ring")
    add_volume(database, "v3", "q", size_gib=9, host="h2", backend="ring")
    add_snapshot(database, "s1", "v1", "p", size_gib=5)
    names = {row["host_name"] for row in (await volumes.ok("GET", "/os-hosts"))["hosts"]}
    assert {"h1", "h1@ring"} <= names
    rows = [row["resource"] for row in (await volumes.ok("GET", "/os-hosts/h1@ring"))["host"]]
    assert [(row["project"], row["volume_count"], row["total_volume_gb"]) for row in rows] == [
        ("(total)", "2", "7"),
        ("p", "1", "5"),
        ("q", "1", "2"),
    ]
    assert rows[0]["total_snapshot_gb"] == "5"
    await volumes.refused(404, "GET", "/os-hosts/h1")
    await volumes.refused(400, "PUT", "/os-hosts/h1@ring", {"colour": "red"})
    await volumes.refused(400, "PUT", "/os-hosts/h1@ring", {"status": "red"})
    await volumes.refused(501, "PUT", "/os-hosts/h1@ring", {"status": "disable"})


async def test_pools_and_capabilities(volumes: Volumes) -> None:
    await _beat(volumes, "h1", ring=Room(), file=Room(10 * GIB, 4 * GIB))
    add_volume(volumes.cloud.identity.database, "v1", "p", size_gib=3, host="h1", backend="file")
    named = (await volumes.ok("GET", "/scheduler-stats/get_pools"))["pools"]
    assert {"name": f"{socket.gethostname()}@ring#ring"} in named
    ours = [pool for pool in named if pool["name"].startswith("h1@")]
    assert ours == [{"name": "h1@file#file"}, {"name": "h1@ring#ring"}]
    detailed = (await volumes.ok("GET", "/scheduler-stats/get_pools?detail=True"))["pools"]
    ours = [pool["capabilities"] for pool in detailed if pool["name"].startswith("h1@")]
    file, ring = ours
    assert (file["total_capacity_gb"], file["free_capacity_gb"]) == (10, 4)
    assert file["allocated_capacity_gb"] == 3
    assert ring["total_capacity_gb"] == "infinite"
    found = (await volumes.ok("GET", "/capabilities/h1@ring")).body
    assert found["volume_backend_name"] == "ring"
    assert found["vendor_name"] == ring["vendor_name"]
    await volumes.refused(404, "GET", "/capabilities/h9")
    await volumes.type("on-file", extra_specs={"volume_backend_name": "file"})
    asked = "/scheduler-stats/get_pools?volume_type=on-file"
    assert [pool["name"] for pool in (await volumes.ok("GET", asked))["pools"]] == ["h1@file#file"]
    assert len((await volumes.ok("GET", asked, version="3.34"))["pools"]) == 3
    with volumes.cloud.identity.database.read() as session:
        known = pools(session, volumes.cloud.identity.now_us())
    assert [pool.backend for pool in fitting(known, {}, 4)] == ["ring", "ring", "file"]
    assert [pool.backend for pool in fitting(known, {}, 5)] == ["ring", "ring"]
    assert fitting(known, {"vendor_name": "another"}, 1) == []
    assert fitting(known, {}, 1, zone="elsewhere") == []


async def test_levels_of_loggers_are_set_here_and_elsewhere(volumes: Volumes) -> None:
    here = logging.getLogger("atoll.cloud.volume")
    before = here.level
    other = await _beat(volumes, "h2")
    volumes.cloud.clock.ahead_s += 1
    try:
        sent = {"level": "DEBUG", "prefix": "atoll.cloud.volume", "server": "h2"}
        assert (await volumes.ok("PUT", "/os-services/set-log", sent)).status == 202
        assert here.level == before  # it is meant for another host, which has not heard of it yet
        await other.beat()
        assert here.level == logging.DEBUG  # whose process this is, too
        asked = {"prefix": "atoll.cloud.vol", "server": "h2"}
        (found,) = (await volumes.ok("PUT", "/os-services/get-log", asked))["log_levels"]
        assert found["levels"] == {"atoll.cloud.volume": "DEBUG"}
        await _beat(volumes, "h2")  # a process that started later has its own levels
        await volumes.ok("PUT", "/os-services/set-log", {**sent, "server": "", "level": "warning"})
        assert here.level == logging.WARNING
    finally:
        here.setLevel(before)
    await volumes.refused(400, "PUT", "/os-services/set-log", {"level": "LOUD"})
    await volumes.refused(400, "PUT", "/os-services/get-log", {"binary": "nova"})
    await volumes.refused(404, "PUT", "/os-services/get-log", {}, version="3.31")
