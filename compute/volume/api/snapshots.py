"""/v3/snapshots: made, listed, shown, changed, deleted."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.manage import unmanage_snapshot
from compute.volume.api.volume_lists import metadata_wanted
from compute.volume.api.volumes import named
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.matching import is_true
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.paging import next_links, page_of, rows_of
from compute.volume.pools import check_not_frozen
from compute.volume.quotas import reserve
from compute.volume.volume_work import VolumeWork
from compute.volume.volumes import (
    check_snapshot_possible,
    invalid_snapshot,
    snapshot_of,
    volume_of,
)

GROUP_SINCE: Final = 14
USER_SINCE: Final = 41
COUNT_SINCE: Final = 45
QUOTA_SINCE: Final = 65
IN_USE_SINCE: Final = 66
STATUSES: Final = ("creating", "available", "deleting", "error", "error_deleting")
NEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "creating": ("creating", "available", "error"),
    "deleting": ("deleting", "error_deleting"),
}
"""What who makes snapshots elsewhere may say of one."""

_METADATA: Final = {**forms.specs(r"^[\s\S]{1,255}$", "string"), "type": ["object", "null"]}
_NAMES: Final[dict[str, Any]] = {
    "name": forms.NAME_OR_NULL,
    "description": forms.DESCRIPTION,
    "display_name": forms.NAME_OR_NULL,
    "display_description": forms.DESCRIPTION,
}
_CREATE = Schema(
    forms.within(
        "snapshot",
        {
            **_NAMES,
            "volume_id": {"oneOf": [forms.UUID, {"type": "null"}]},
            "force": forms.TRUTH,
            "metadata": _METADATA,
        },
        "volume_id",
    )
)
_UPDATE = Schema(forms.within("snapshot", _NAMES, minProperties=1))
_RESET = Schema(
    forms.within("os-reset_status", {"status": {"type": "string", "enum": list(STATUSES)}}, "status")
)
_STATUS = Schema(
    forms.within(
        "os-update_snapshot_status",
        {
            "status": {"type": "string"},
            "progress": {"type": ["string", "null"], "pattern": r"^([0-9]{1,2}|100)%$"},
        },
        "status",
    )
)
_COLUMNS: Final = {
    "id": Snapshot.id,
    "created_at": Snapshot.created_us,
    "status": Snapshot.status,
    "volume_id": Snapshot.volume_id,
    "volume_size": Snapshot.size_gib,
    "name": func.coalesce(Snapshot.name, ""),
    "display_name": func.coalesce(Snapshot.name, ""),
}


def _view(call: Call, row: Snapshot) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": row.id,
        "created_at": written(row.created_us),
        "updated_at": written(row.updated_us),
        "name": row.name,
        "description": row.description,
        "volume_id": row.volume_id,
        "status": row.status,
        "size": row.size_gib,
        "metadata": dict(row.meta),
    }
    return view


def _detail(call: Call, row: Snapshot) -> dict[str, Any]:
    view = _view(call, row)
    if call.allowed("volume_extension:extended_snapshot_attributes", project_id=row.project_id):
        view["os-extended-snapshot-attributes:progress"] = row.progress
        view["os-extended-snapshot-attributes:project_id"] = row.project_id
    if call.minor >= GROUP_SINCE:
        view["group_snapshot_id"] = row.group_snapshot_id
    if call.minor >= USER_SINCE:
        view["user_id"] = row.user_id
    if call.minor >= QUOTA_SINCE:
        view["consumes_quota"] = row.consumes_quota
    return view


def _filtered(call: Call, query: Select[Any]) -> Select[Any]:
    admin = call.context.is_admin
    if not (admin and is_true(call.query("all_tenants") or "")):
        query = query.where(Snapshot.project_id == call.context.project_id)
    known: dict[str, Any] = {
        "name": Snapshot.name,
        "status": Snapshot.status,
        "volume_id": Snapshot.volume_id,
    }
    if admin:
        known |= {"project_id": Snapshot.project_id, "user_id": Snapshot.user_id}
    for name, column in known.items():
        if (wanted := call.query(name)) is not None:
            query = query.where(column == wanted)
    for key, value in metadata_wanted(call.query("metadata")).items():
        query = query.where(Snapshot.meta[key].as_string() == value)
    return query


def _listed(call: Call, *, full: bool) -> Answer:
    call.enforce("volume:get_all_snapshots")
    page = page_of(call.request.query)
    with call.read() as session:
        rows = rows_of(session, _filtered(call, select(Snapshot)), page, _COLUMNS, Snapshot)
        body: dict[str, Any] = {
            "snapshots": [_detail(call, row) if full else _view(call, row) for row in rows]
        }
        if call.minor >= COUNT_SINCE and is_true(call.query("with_count") or ""):
            count = _filtered(call, select(func.count()).select_from(Snapshot))
            body["count"] = int(session.scalar(count) or 0)
    if links := next_links(call.request, rows):
        body["snapshots_links"] = links
    return json_answer(body)


def list_snapshots(call: Call) -> Answer:
    """GET /v3/snapshots."""
    return _listed(call, full=False)


def list_details(call: Call) -> Answer:
    """GET /v3/snapshots/detail."""
    return _listed(call, full=True)


def show(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        row = snapshot_of(call, session, "volume:get_snapshot")
        return json_answer({"snapshot": _detail(call, row)})


def update(call: Call) -> Answer:
    """PUT: name and description."""
    fields = call.body(_UPDATE)["snapshot"]
    with call.write() as session:
        row = snapshot_of(call, session, "volume:update_snapshot")
        for name, value in named(fields).items():
            setattr(row, name, value)
        row.updated_us = call.site.now_us()
        view = _view(call, row)
    return json_answer({"snapshot": view})


def _create(call: Call) -> Answer:
    fields = call.body(_CREATE)["snapshot"]
    force = fields.get("force")
    if call.minor >= IN_USE_SINCE and force is not None and not is_true(force):
        raise BadRequest(
            "Invalid value for 'force'. Since microversion 3.66 the flag is not needed, and only a"
            " true value is accepted."
        )
    with call.write() as session:
        volume = volume_of(call, session, "volume:create_snapshot", str(fields["volume_id"]))
        check_not_frozen(session, volume.host, volume.backend)
        in_use = call.minor >= IN_USE_SINCE or is_true(force or False)
        check_snapshot_possible(volume, in_use=in_use)
        deltas = {"snapshots": 1, "gigabytes": volume.size_gib}
        reserve(session, str(call.context.project_id), deltas, volume.volume_type_id)
        row = _new(call, volume, fields)
        session.add(row)
        session.flush()
        view = _view(call, row)
    return json_answer({"snapshot": view}, 202)


def _new(call: Call, volume: Volume, fields: Mapping[str, Any]) -> Snapshot:
    said = named(fields)
    return Snapshot(
        id=call.site.new_uuid(),
        volume_id=volume.id,
        volume_type_id=volume.volume_type_id,
        project_id=call.context.project_id,
        user_id=call.context.user_id,
        name=said.get("name"),
        description=said.get("description"),
        size_gib=volume.size_gib,
        status="creating",
        meta=dict(fields.get("metadata") or {}),
        created_us=call.site.now_us(),
    )


def _delete(call: Call, *, force: bool = False) -> Answer:
    rule = "volume_extension:snapshot_admin_actions:force_delete" if force else "volume:delete_snapshot"
    with call.write() as session:
        row = snapshot_of(call, session, rule)
        volume = session.get_one(Volume, row.volume_id)
        check_not_frozen(session, volume.host, volume.backend)
        if row.status == "error_managing":  # the backend has nothing of it
            session.delete(row)
            return Answer(202)
        idle = force or row.status in ("available", "error")
        if not idle or row.group_snapshot_id is not None or _is_source(session, row.id):
            raise invalid_snapshot(
                "Snapshot status must be available or error and must not be part of a group snapshot"
                " or the source of a volume that is being created."
            )
        row.status, row.updated_us = "deleting", call.site.now_us()
    return Answer(202)


def _is_source(session: Session, snapshot_id: str) -> bool:
    query = select(Volume.id).where(Volume.snapshot_id == snapshot_id, Volume.status == "creating")
    return session.scalar(query.limit(1)) is not None


def _force_delete(call: Call) -> Answer:
    return _delete(call, force=True)


def _reset(call: Call) -> Answer:
    status = call.body(_RESET)["os-reset_status"]["status"]
    with call.write() as session:
        row = snapshot_of(call, session, "volume_extension:snapshot_admin_actions:reset_status")
        row.status, row.updated_us = status, call.site.now_us()
        row.status_by_hand = True
    return Answer(202)


def _set_status(call: Call) -> Answer:
    fields = call.body(_STATUS)["os-update_snapshot_status"]
    rule = "snapshot_extension:snapshot_actions:update_snapshot_status"
    with call.write() as session:
        row = snapshot_of(call, session, rule)
        if row.status not in NEXT:
            raise BadRequest(f"Snapshot status {row.status} not allowed for update_snapshot_status")
        if fields["status"] not in NEXT[row.status]:
            raise BadRequest(
                f"Provided snapshot status {fields['status']} not allowed for snapshot with status"
                f" {row.status}."
            )
        by_hand = row.status_by_hand
        row.status, row.updated_us = fields["status"], call.site.now_us()
        row.status_by_hand = by_hand
        row.progress = fields.get("progress") or row.progress
    return Answer(202)


_ACTIONS: Final[Mapping[str, Callable[[Call], Answer]]] = {
    "os-force_delete": _force_delete,
    "os-reset_status": _reset,
    "os-unmanage": unmanage_snapshot,
    "os-update_snapshot_status": _set_status,
}


class _Makers:
    """Requests after which there may be work."""

    def __init__(self, work: VolumeWork) -> None:
        self._work = work

    def then(self, handler: Callable[[Call], Answer]) -> Any:
        """The handler, and then the work."""

        async def handled(call: Call) -> Answer:
            answer = await call.site.database.run(lambda: handler(call))
            self._work.ask()
            return answer

        return handled


def _act(call: Call) -> Answer:
    name = next(iter(call.request.json()), "")
    if name not in _ACTIONS:
        raise BadRequest(f"There is no such action: {name}")
    return _ACTIONS[name](call)


def routes(work: VolumeWork) -> list[tuple[Any, ...]]:
    """What answers them."""
    makers = _Makers(work)
    return [
        ("GET", "/v3/snapshots", list_snapshots),
        ("POST", "/v3/snapshots", makers.then(_create)),
        ("GET", "/v3/snapshots/detail", list_details),
        ("GET", "/v3/snapshots/{snapshot_id}", show),
        ("PUT", "/v3/snapshots/{snapshot_id}", update),
        ("DELETE", "/v3/snapshots/{snapshot_id}", makers.then(_delete)),
        ("POST", "/v3/snapshots/{snapshot_id}/action", makers.then(_act)),
    ]
