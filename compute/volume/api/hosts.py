"""/v3/os-hosts, zones, pools and capabilities: what operators and the scheduler see of hosts."""

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from compute.server.errors import Absent, BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.volume.api.services import rows_of
from compute.volume.call import Call
from compute.volume.heartbeat import VOLUME, is_up
from compute.volume.instants import written
from compute.volume.kinds import type_for
from compute.volume.matching import fits, is_true
from compute.volume.models.services import VolumeService
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.pools import DRIVER_VERSION, PROTOCOL, VENDOR, pools

RULE: Final = "volume_extension:hosts"
POOL_RULE: Final = "scheduler_extension:scheduler_stats:get_pools"
POOL_FILTER_SINCE: Final = 28
TYPE_FILTER_SINCE: Final = 35


# -- hosts --


def list_hosts(call: Call) -> Answer:
    """GET /v3/os-hosts: the services that are not disabled."""
    call.enforce(RULE)
    zone, now = call.query("zone"), call.site.now_us()
    with call.read() as session:
        rows = rows_of(session, None, None)
    shown = [row for row in rows if not row.is_disabled and zone in (None, "", row.zone)]
    return json_answer({"hosts": [_host(row, now) for row in shown]})


def _host(row: VolumeService, now_us: int) -> dict[str, Any]:
    return {
        "host_name": row.host,
        "service": row.binary,
        "zone": row.zone,
        "service-status": "available" if is_up(row, now_us) else "unavailable",
        "service-state": "enabled",
        "last-update": written(row.seen_us),
    }


def show_host(call: Call) -> Answer:
    """GET /v3/os-hosts/{host_name}: what each project has there."""
    call.enforce(RULE)
    name = call.path["host_name"]
    with call.read() as session:
        if session.get(VolumeService, (name, VOLUME)) is None:
            raise NotFound(f"Host {name} could not be found.")
        held = _held(session, name)
    total = [sum(row[n] for row in held.values()) for n in range(4)]
    rows = [_resource(name, "(total)", total)]
    rows += [_resource(name, project, held[project]) for project in sorted(held)]
    return json_answer({"host": rows})


def _held(session: Session, name: str) -> dict[str, list[int]]:
    """By project: volumes, their GiB, snapshots, their GiB."""
    host, _, backend = name.partition("@")
    here = (Volume.host == host, Volume.backend == backend)
    held: dict[str, list[int]] = {}
    volumes = select(Volume.project_id, func.count(), func.sum(Volume.size_gib)).where(*here)
    for project, count, gib in session.execute(volumes.group_by(Volume.project_id)):
        held[project] = [count, int(gib), 0, 0]
    snapshots = select(Snapshot.project_id, func.count(), func.sum(Snapshot.size_gib))
    snapshots = snapshots.join(Volume, Volume.id == Snapshot.volume_id).where(*here)
    for project, count, gib in session.execute(snapshots.group_by(Snapshot.project_id)):
        held.setdefault(project, [0, 0, 0, 0])[2:] = [count, int(gib)]
    return held


def _resource(host: str, project: str, amounts: list[int]) -> dict[str, Any]:
    names = ("volume_count", "total_volume_gb", "snapshot_count", "total_snapshot_gb")
    texts = dict(zip(names, map(str, amounts), strict=True))
    return {"resource": {"host": host, "project": project, **texts}}


def update_host(call: Call) -> Answer:
    """PUT: upstream has it in its API and in no driver. Services are switched at /v3/os-services."""
    call.enforce(RULE)
    for key, value in call.request.json().items():
        if key.lower().strip() != "status":
            raise BadRequest(f"Invalid update setting: '{key}'")
        if str(value).lower().strip() not in ("enable", "disable"):
            raise BadRequest(f"Invalid status: '{value}'")
    raise Absent("Hosts are enabled and disabled by their services: /v3/os-services.")


# -- zones --


def list_zones(call: Call) -> Answer:
    """GET /v3/os-availability-zone: a zone is available where one of its services is enabled."""
    with call.read() as session:
        rows = rows_of(session, None, VOLUME)
    zones: dict[str, bool] = {}
    for row in rows:
        zones[row.zone] = zones.get(row.zone, False) or not row.is_disabled
    shown = [{"zoneName": name, "zoneState": {"available": zones[name]}} for name in sorted(zones)]
    return json_answer({"availabilityZoneInfo": shown})


# -- pools --


def get_pools(call: Call) -> Answer:
    """GET /v3/scheduler-stats/get_pools."""
    call.enforce(POOL_RULE)
    detail = is_true(call.query("detail") or "")
    with call.read() as session:
        found = pools(session, call.site.now_us())
        if call.minor >= TYPE_FILTER_SINCE and (asked := call.query("volume_type")):
            specs = type_for(session, call.context, asked).extra_specs
            found = [pool for pool in found if fits(specs, pool.capabilities)]
    wanted = call.query("name") if call.minor >= POOL_FILTER_SINCE else None
    shown = [
        {"name": pool.name, **({"capabilities": dict(pool.capabilities)} if detail else {})}
        for pool in found
        if wanted in (None, pool.name)
    ]
    return json_answer({"pools": shown})


def show_capabilities(call: Call) -> Answer:
    """GET /v3/capabilities/{host_name}."""
    call.enforce("volume_extension:capabilities")
    name = call.path["host_name"].partition("#")[0]
    with call.read() as session:
        rows = rows_of(session, name, VOLUME)
    if not rows:
        raise NotFound(f"Can't find service: {name}")
    backend = rows[0].host.partition("@")[2]
    return json_answer(
        {
            "namespace": f"OS::Storage::Capabilities::{rows[0].host}",
            "vendor_name": VENDOR,
            "volume_backend_name": backend,
            "pool_name": backend,
            "driver_version": DRIVER_VERSION,
            "storage_protocol": PROTOCOL,
            "display_name": None,
            "description": None,
            "visibility": None,
            "replication_targets": [],
            "properties": {},
        }
    )


ROUTES: Final = [
    ("GET", "/v3/os-hosts", list_hosts),
    ("GET", "/v3/os-hosts/{host_name}", show_host),
    ("PUT", "/v3/os-hosts/{host_name}", update_host),
    ("GET", "/v3/os-availability-zone", list_zones),
    ("GET", "/v3/scheduler-stats/get_pools", get_pools),
    ("GET", "/v3/capabilities/{host_name}", show_capabilities),
]
