"""/v3/os-services: who serves, who may; and the levels of their loggers."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from compute.server.errors import Absent, BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.heartbeat import (
    API,
    BACKUP,
    ROOM,
    SCHEDULER,
    VOLUME,
    is_up,
    levels_now,
    set_level,
)
from compute.volume.instants import written
from compute.volume.models.services import LogLevel, VolumeService

RULE: Final = "volume_extension:services"
BINARIES: Final = (SCHEDULER, VOLUME, BACKUP, API)
LEVELS: Final = ("INFO", "WARNING", "ERROR", "DEBUG")
CLUSTERS_SINCE: Final = 7
LOGS_SINCE: Final = 32
STATE_SINCE: Final = 49
PREFIX_OF_ALL: Final = ""

_BINARY = {"type": "string", "minLength": 1, "maxLength": 255}
_TEXT = forms.NAME_OR_NULL
_TARGET = {"binary": _BINARY, "host": forms.HOST, "cluster": _TEXT, "service": _BINARY}
_EITHER = [{"required": ["binary"]}, {"required": ["service"]}]


def _form(properties: forms.Form, **more: Any) -> Schema:
    return Schema({"type": "object", "properties": properties, "additionalProperties": False, **more})


_SWITCH = _form(_TARGET, anyOf=_EITHER)
_REASON = _form(
    {**_TARGET, "disabled_reason": {"type": "string", "maxLength": 255, "pattern": r"\S"}},
    anyOf=_EITHER,
)
_FREEZE = _form({"host": forms.HOST, "cluster": _TEXT})
_FAILOVER = _form({"host": forms.HOST, "cluster": _TEXT, "backend_id": _TEXT})
_LOG = {"binary": {"enum": [*BINARIES, "", "*"]}, "server": _TEXT, "prefix": _TEXT}
_GET_LOG = _form(_LOG)
_SET_LOG = _form({**_LOG, "level": {"type": ["string", "null"]}})


def rows_of(session: Session, host: str | None, binary: str | None) -> Sequence[VolumeService]:
    """Services; of a host with all its backends."""
    query = select(VolumeService).order_by(VolumeService.binary, VolumeService.host)
    if binary:
        query = query.where(VolumeService.binary == binary)
    if host:
        backends = VolumeService.host.startswith(f"{host}@", autoescape=True)
        query = query.where(or_(VolumeService.host == host, backends))
    return session.scalars(query).all()


def list_services(call: Call) -> Answer:
    """GET /v3/os-services."""
    call.enforce(f"{RULE}:index")
    with call.read() as session:
        rows = rows_of(session, call.query("host"), call.query("binary"))
    return json_answer({"services": [_view(call, row) for row in rows]})


def _view(call: Call, row: VolumeService) -> dict[str, Any]:
    up = is_up(row, call.site.now_us())
    view: dict[str, Any] = {
        "binary": row.binary,
        "host": row.host,
        "zone": row.zone,
        "status": "disabled" if row.is_disabled else "enabled",
        "state": "up" if up else "down",
        "updated_at": written(row.seen_us),
        "disabled_reason": row.disabled_reason,
    }
    if call.minor >= CLUSTERS_SINCE:
        view["cluster"] = None
    if row.binary == VOLUME:
        view |= {"replication_status": "disabled", "active_backend_id": None, "frozen": row.is_frozen}
        if call.minor >= STATE_SINCE:
            view["backend_state"] = "up" if up else "down"
    return view


# -- switches --


def _target(body: dict[str, Any]) -> tuple[str, str]:
    """The host and the binary that are meant. Raises BadRequest."""
    if not body.get("host"):
        raise BadRequest("Invalid input received: Host field is missing.")
    return body["host"], body.get("binary") or body.get("service") or ""


def _switch(call: Call, body: dict[str, Any], *, is_disabled: bool, reason: str | None) -> None:
    host, binary = _target(body)
    with call.site.database.write(ROOM, changes=False) as session:
        row = session.get(VolumeService, (host, binary))
        if row is None:
            raise NotFound(f"Service {binary} could not be found on host {host}.")
        row.is_disabled, row.disabled_reason = is_disabled, reason


def _switched(body: dict[str, Any], *, is_disabled: bool) -> dict[str, Any]:
    return {
        "host": body["host"],
        "service": body.get("service", ""),
        "binary": body.get("binary", ""),
        "status": "disabled" if is_disabled else "enabled",
        "disabled": is_disabled,
    }


def enable(call: Call) -> Answer:
    """PUT /v3/os-services/enable."""
    call.enforce(f"{RULE}:update")
    body = call.body(_SWITCH)
    _switch(call, body, is_disabled=False, reason=None)
    return json_answer({**_switched(body, is_disabled=False), "disabled_reason": None})


def disable(call: Call) -> Answer:
    """PUT /v3/os-services/disable: no new volumes there."""
    call.enforce(f"{RULE}:update")
    body = call.body(_SWITCH)
    _switch(call, body, is_disabled=True, reason=None)
    return json_answer(_switched(body, is_disabled=True))


def disable_with_reason(call: Call) -> Answer:
    """PUT /v3/os-services/disable-log-reason."""
    call.enforce(f"{RULE}:update")
    body = call.body(_REASON)
    reason = body.get("disabled_reason")
    _switch(call, body, is_disabled=True, reason=reason)
    return json_answer({**_switched(body, is_disabled=True), "disabled_reason": reason})


def freeze(call: Call) -> Answer:
    """PUT /v3/os-services/freeze: nothing that a backend has may be changed."""
    return _set_frozen(call, is_frozen=True)


def thaw(call: Call) -> Answer:
    """PUT /v3/os-services/thaw."""
    return _set_frozen(call, is_frozen=False)


def _set_frozen(call: Call, *, is_frozen: bool) -> Answer:
    call.enforce(f"{RULE}:update")
    host, _ = _target(call.body(_FREEZE))
    with call.site.database.write(ROOM, changes=False) as session:
        rows = rows_of(session, host, VOLUME)
        if not rows:
            raise BadRequest(
                f"Invalid input received: Service {VOLUME} could not be found on host {host}."
            )
        for row in rows:
            row.is_frozen = row.is_disabled = is_frozen
            row.disabled_reason = "frozen" if is_frozen else None
    return Answer(200)


def failover(call: Call) -> Answer:
    """PUT /v3/os-services/failover_host: no backend here replicates to another one."""
    call.enforce(f"{RULE}:update")
    call.body(_FAILOVER)
    raise Absent("Backends have no replication targets to fail over to.")


# -- loggers --


def set_log(call: Call) -> Answer:
    """PUT /v3/os-services/set-log: other processes follow with their next sign of life."""
    call.enforce(f"{RULE}:update")
    body = call.body(_SET_LOG)
    level = (body.get("level") or "").upper()
    if level not in LEVELS:
        raise BadRequest(f"Invalid input received: {body.get('level') or ''} is not a valid log level.")
    prefix = body.get("prefix") or PREFIX_OF_ALL
    now = call.site.now_us()
    with call.site.database.write(ROOM, changes=False) as session:
        hosts = {row.host.partition("@")[0] for row in _meant(session, body, now)}
        for host in hosts:
            session.merge(LogLevel(host=host, prefix=prefix, level=level, set_us=now))
    if call.site.host in hosts:
        set_level(prefix, level)
    return Answer(202)


def get_log(call: Call) -> Answer:
    """PUT /v3/os-services/get-log: of other processes as of their last sign of life."""
    call.enforce(f"{RULE}:update")
    body = call.body(_GET_LOG)
    prefix = body.get("prefix") or PREFIX_OF_ALL
    with call.read() as session:
        rows = _meant(session, body, call.site.now_us())
    found = [_levels(call, row.host, row.binary, row.log_levels, prefix) for row in rows]
    if body.get("binary") in (None, "", "*", API) and body.get("server") in (None, "", call.site.host):
        found.insert(0, _levels(call, call.site.host, API, {}, prefix))
    return json_answer({"log_levels": found})


def _meant(session: Session, body: dict[str, Any], now_us: int) -> list[VolumeService]:
    """The services that are up. The API is in the same process as the host's others."""
    binary = body.get("binary")
    wanted = binary if binary in (SCHEDULER, VOLUME, BACKUP) else None
    rows = rows_of(session, body.get("server"), wanted)
    return [row for row in rows if is_up(row, now_us)]


def _levels(call: Call, host: str, binary: str, known: dict[str, Any], prefix: str) -> dict[str, Any]:
    if host.partition("@")[0] == call.site.host:
        known = levels_now("")
    levels = {name: level for name, level in known.items() if name.startswith(prefix)}
    return {"host": host, "binary": binary, "levels": levels}


_PATH = "/v3/os-services"
ROUTES: Final = [
    ("GET", _PATH, list_services),
    ("PUT", f"{_PATH}/enable", enable),
    ("PUT", f"{_PATH}/disable", disable),
    ("PUT", f"{_PATH}/disable-log-reason", disable_with_reason),
    ("PUT", f"{_PATH}/freeze", freeze),
    ("PUT", f"{_PATH}/thaw", thaw),
    ("PUT", f"{_PATH}/failover_host", failover),
    ("PUT", f"{_PATH}/failover", failover, 26),
    ("PUT", f"{_PATH}/set-log", set_log, LOGS_SINCE),
    ("PUT", f"{_PATH}/get-log", get_log, LOGS_SINCE),
]
