"""/v3/os-quota-sets, /v3/os-quota-class-sets and /v3/limits."""

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import delete

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.call import Call
from compute.volume.matching import is_true
from compute.volume.models.quotas import Quota, QuotaClass
from compute.volume.quotas import (
    LIMIT_MAX,
    PER_VOLUME,
    UNLIMITED,
    class_limits,
    limits_of,
    resources,
    use_of,
)

RULE: Final = "volume_extension:quotas"
CLASS_RULE: Final = "volume_extension:quota_classes"
NO_LIMITS: Final = ("tenant_id", "id")
"""Clients send them along."""
FILTER_SINCE: Final = 39
"""The minor version from which an administrator may ask for another project's limits."""
ID_CHARS_MAX: Final = 255
ABSOLUTE: Final = {
    "volumes": ("maxTotalVolumes", "totalVolumesUsed"),
    "gigabytes": ("maxTotalVolumeGigabytes", "totalGigabytesUsed"),
    "snapshots": ("maxTotalSnapshots", "totalSnapshotsUsed"),
    "backups": ("maxTotalBackups", "totalBackupsUsed"),
    "backup_gigabytes": ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed"),
}

_SET = Schema(
    {
        "type": "object",
        "properties": {"quota_set": {"type": "object", "minProperties": 1}},
        "required": ["quota_set"],
        "additionalProperties": False,
    }
)
_CLASS = Schema(
    {
        "type": "object",
        "properties": {"quota_class_set": {"type": "object"}},
        "required": ["quota_class_set"],
        "additionalProperties": False,
    }
)


def _limits(sent: Mapping[str, Any], known: Mapping[str, Any], what: str) -> dict[str, int]:
    """The limits that were sent. Raises BadRequest for names and numbers that make no sense."""
    wrong = [name for name in sent if name not in known and name not in NO_LIMITS]
    if wrong:
        raise BadRequest(f"Invalid input received: Bad key(s) in {what}: {', '.join(wrong)}")
    return {name: _number(name, value) for name, value in sent.items() if name not in NO_LIMITS}


def _number(name: str, value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}", value)):
        raise BadRequest(f"{name} must be an integer.")
    number = int(value)
    if number < UNLIMITED:
        raise BadRequest(f"{name} must be >= {UNLIMITED}")
    if number > LIMIT_MAX:
        raise BadRequest(f"{name} must be <= {LIMIT_MAX}")
    return number


def _named(kind: str, ident: str) -> str:
    if not 1 <= len(ident) <= ID_CHARS_MAX:
        raise BadRequest(f"{kind} has {len(ident)} characters, more than {ID_CHARS_MAX}.")
    return ident


def show(call: Call) -> Answer:
    """GET /v3/os-quota-sets/{target_id}; `usage` adds what is in use."""
    project_id = call.path["target_id"]
    call.enforce(f"{RULE}:show", project_id=project_id)
    with call.read() as session:
        if is_true(call.query("usage") or ""):
            found: dict[str, Any] = {k: use.shown() for k, use in use_of(session, project_id).items()}
        else:
            found = dict(limits_of(session, project_id))
    return json_answer({"quota_set": {**found, "id": project_id}})


def show_defaults(call: Call) -> Answer:
    """GET /v3/os-quota-sets/{target_id}/defaults."""
    project_id = call.path["target_id"]
    call.enforce(f"{RULE}:show", project_id=project_id)
    with call.read() as session:
        limits = class_limits(session, "default")
    return json_answer({"quota_set": {**limits, "id": project_id}})


def update(call: Call) -> Answer:
    """PUT: no limit may be below what is in use."""
    project_id = call.path["target_id"]
    call.enforce(f"{RULE}:update", project_id=project_id)
    _named("quota_set_name", project_id)
    sent = call.body(_SET)["quota_set"]
    with call.write() as session:
        uses = use_of(session, project_id)
        limits = _limits(sent, uses, "quota set")
        for name, limit in limits.items():
            _check_not_below(name, limit, uses[name].in_use)
        for name, limit in limits.items():
            session.merge(Quota(project_id=project_id, resource=name, limit=limit))
        session.flush()
        found = limits_of(session, project_id)
    return json_answer({"quota_set": found})


def _check_not_below(name: str, limit: int, in_use: int) -> None:
    if name != PER_VOLUME and limit != UNLIMITED and limit < in_use:
        raise BadRequest(
            f"Quota {name} limit must be equal or greater than existing resources. Current usage is"
            f" {in_use} and the requested limit is {limit}."
        )


def reset(call: Call) -> Answer:
    """DELETE: the defaults apply again."""
    project_id = call.path["target_id"]
    call.enforce(f"{RULE}:delete", project_id=project_id)
    with call.write() as session:
        session.execute(delete(Quota).where(Quota.project_id == project_id))
    return Answer(200)


def show_class(call: Call) -> Answer:
    """GET /v3/os-quota-class-sets/{class_name}."""
    call.enforce(f"{CLASS_RULE}:get")
    name = call.path["class_name"]
    with call.read() as session:
        limits = class_limits(session, name)
    return json_answer({"quota_class_set": {**limits, "id": name}})


def update_class(call: Call) -> Answer:
    """PUT: the limits of the class `default` are every project's."""
    call.enforce(f"{CLASS_RULE}:update")
    name = _named("quota_class_name", call.path["class_name"])
    sent = call.body(_CLASS)["quota_class_set"]
    with call.write() as session:
        for resource, limit in _limits(sent, resources(session), "quota class set").items():
            session.merge(QuotaClass(class_name=name, resource=resource, limit=limit))
        session.flush()
        limits = class_limits(session, name)
    return json_answer({"quota_class_set": limits})


def show_limits(call: Call) -> Answer:
    """GET /v3/limits: the project's, and what it uses of them. Requests are not limited by rate."""
    project_id = call.context.project_id or ""
    if call.context.is_admin and call.minor >= FILTER_SINCE:
        project_id = call.query("project_id") or call.query("tenant_id") or project_id
    with call.read() as session:
        uses = use_of(session, project_id)
    absolute = {names[0]: uses[resource].limit for resource, names in ABSOLUTE.items()}
    if call.allowed("limits_extension:used_limits"):
        absolute |= {names[1]: uses[resource].in_use for resource, names in ABSOLUTE.items()}
    return json_answer({"limits": {"rate": [], "absolute": absolute}})


_SETS = "/v3/os-quota-sets/{target_id}"
_CLASSES = "/v3/os-quota-class-sets/{class_name}"
ROUTES: Final = [
    ("GET", _SETS, show),
    ("PUT", _SETS, update),
    ("DELETE", _SETS, reset),
    ("GET", f"{_SETS}/defaults", show_defaults),
    ("GET", _CLASSES, show_class),
    ("PUT", _CLASSES, update_class),
    ("GET", "/v3/limits", show_limits),
]
