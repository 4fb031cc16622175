"""/v3/extensions and /v3/clusters: what clients of the first versions ask for, and what is not here."""

from typing import Final

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.volume.call import Call

CLUSTERS_SINCE: Final = 7
CLUSTER_FILTERS: Final = (
    *("name", "binary", "is_up", "disabled", "num_hosts", "num_down_hosts"),
    *("replication_status", "frozen", "active_backend_id"),
)
UPDATED: Final = "2017-01-01T00:00:00+00:00"
EXTENSIONS: Final = {
    "OS-SCH-HNT": "SchedulerHints",
    "backups": "Backups",
    "capabilities": "Capabilities",
    "encryption": "VolumeTypeEncryption",
    "os-admin-actions": "AdminActions",
    "os-availability-zone": "AvailabilityZones",
    "os-extended-services": "ExtendedServices",
    "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes",
    "os-hosts": "Hosts",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-services": "Services",
    "os-snapshot-actions": "SnapshotActions",
    "os-snapshot-manage": "SnapshotManage",
    "os-snapshot-unmanage": "SnapshotUnmanage",
    "os-types-extra-specs": "TypesExtraSpecs",
    "os-types-manage": "TypesManage",
    "os-used-limits": "UsedLimits",
    "os-vol-host-attr": "VolumeHostAttribute",
    "os-vol-image-meta": "VolumeImageMetadata",
    "os-vol-mig-status-attr": "VolumeMigStatusAttribute",
    "os-vol-tenant-attr": "VolumeTenantAttribute",
    "os-volume-actions": "VolumeActions",
    "os-volume-encryption-metadata": "VolumeEncryptionMetadata",
    "os-volume-manage": "VolumeManage",
    "os-volume-transfer": "VolumeTransfer",
    "os-volume-type-access": "VolumeTypeAccess",
    "os-volume-unmanage": "VolumeUnmanage",
    "qos-specs": "Qos_specs_manage",
    "scheduler-stats": "Scheduler_stats",
}


def _view(alias: str) -> dict[str, object]:
    name = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": name, "updated": UPDATED, "links": []}


def list_extensions(_call: Call) -> Answer:
    """GET /v3/extensions."""
    return json_answer({"extensions": [_view(alias) for alias in EXTENSIONS]})


def show_extension(call: Call) -> Answer:
    """GET of one."""
    if call.path["alias"] not in EXTENSIONS:
        raise NotFound("The resource could not be found.")
    return json_answer({"extension": _view(call.path["alias"])})


# -- clusters: processes of one database are equals here, so there is none --


def list_clusters(call: Call) -> Answer:
    """GET /v3/clusters."""
    call.enforce("clusters:get_all")
    unknown = [name for name in call.request.query if name not in CLUSTER_FILTERS]
    if unknown:
        raise BadRequest(f"Invalid input received: Invalid filter keys: {', '.join(unknown)}")
    return json_answer({"clusters": []})


def show_cluster(call: Call) -> Answer:
    """GET of one."""
    call.enforce("clusters:get")
    raise _no_such_cluster(call.path["name"])


def switch_cluster(call: Call) -> Answer:
    """PUT /v3/clusters/enable and /disable."""
    call.enforce("clusters:update")
    name = call.request.json().get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest("'name' is a required property")
    raise _no_such_cluster(name)


def _no_such_cluster(name: str) -> NotFound:
    return NotFound(f"Cluster {name} could not be found.")


ROUTES: Final = [
    ("GET", "/v3/extensions", list_extensions),
    ("GET", "/v3/extensions/{alias}", show_extension),
    ("GET", "/v3/clusters", list_clusters, CLUSTERS_SINCE),
    ("GET", "/v3/clusters/detail", list_clusters, CLUSTERS_SINCE),
    ("GET", "/v3/clusters/{name}", show_cluster, CLUSTERS_SINCE),
    ("PUT", "/v3/clusters/enable", switch_cluster, CLUSTERS_SINCE),
    ("PUT", "/v3/clusters/disable", switch_cluster, CLUSTERS_SINCE),
]
