"""/v3/group_snapshots: snapshots of all volumes of a group."""

from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.groups import group_of, settled
from compute.volume.call import Call
from compute.volume.group_copies import add_snapshots, no_such_snapshot
from compute.volume.group_work import GroupWork
from compute.volume.groups import check_snapshot_deletable, settle, snapshots_of
from compute.volume.instants import written
from compute.volume.models.groups import GroupSnapshot
from compute.volume.paging import Page, next_links, page_of, rows_of

SINCE: Final = 14
RESET_SINCE: Final = 19
PAGES_SINCE: Final = 29
PROJECT_SINCE: Final = 58
PLAIN: Final = Page(1000, 0, None, (("created_at", False),))
STATUSES: Final = (
    *("error", "available", "creating", "deleting", "deleted", "updating"),
    "error_deleting",
)

_CREATE = Schema(
    forms.within(
        "group_snapshot",
        {"group_id": forms.UUID, "name": forms.NAME_OR_NULL, "description": forms.DESCRIPTION},
        "group_id",
    )
)
_RESET = Schema(forms.within("reset_status", {"status": {"type": "string"}}, "status"))


def _detail(call: Call, row: GroupSnapshot) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": row.id,
        "group_id": row.group_id,
        "group_type_id": row.group_type_id,
        "status": row.status,
        "created_at": written(row.created_us),
        "name": row.name,
        "description": row.description,
    }
    if call.minor >= PROJECT_SINCE and call.allowed("group:group_snapshot_project_attribute"):
        view["project_id"] = row.project_id
    return view


def _found(call: Call, session: Session, rule: str) -> GroupSnapshot:
    ident = call.path["group_snapshot_id"]
    row = session.get(GroupSnapshot, ident)
    mine = row is not None and (call.context.is_admin or row.project_id == call.context.project_id)
    if row is None or not mine:
        raise no_such_snapshot(ident)
    call.enforce(rule, project_id=row.project_id)
    return row


_COLUMNS: Final = {
    "id": GroupSnapshot.id,
    "created_at": GroupSnapshot.created_us,
    "status": GroupSnapshot.status,
    "group_id": GroupSnapshot.group_id,
}


def _filtered(call: Call) -> Select[Any]:
    query = select(GroupSnapshot)
    if not (call.context.is_admin and call.query("all_tenants")):
        query = query.where(GroupSnapshot.project_id == call.context.project_id)
    for name in ("name", "status", "group_id") if call.minor >= PAGES_SINCE else ():
        if (wanted := call.query(name)) is not None:
            query = query.where(getattr(GroupSnapshot, name) == wanted)
    return query


def _listed(call: Call, *, detail: bool) -> Answer:
    call.enforce("group:get_all_group_snapshots")
    settled(call)
    page = page_of(call.request.query) if call.minor >= PAGES_SINCE else PLAIN
    with call.read() as session:
        rows = rows_of(session, _filtered(call), page, _COLUMNS, GroupSnapshot)
    shown = [_detail(call, row) if detail else {"id": row.id, "name": row.name} for row in rows]
    links = next_links(call.request, rows) if call.minor >= PAGES_SINCE else []
    return json_answer({"group_snapshots": shown} | ({"group_snapshot_links": links} if links else {}))


def list_snapshots(call: Call) -> Answer:
    """GET /v3/group_snapshots."""
    return _listed(call, detail=False)


def list_details(call: Call) -> Answer:
    """GET /v3/group_snapshots/detail."""
    return _listed(call, detail=True)


def show_snapshot(call: Call) -> Answer:
    """GET of one."""
    settled(call)
    with call.read() as session:
        row = _found(call, session, "group:get_group_snapshot")
    return json_answer({"group_snapshot": _detail(call, row)})


def _create(call: Call) -> Answer:
    fields = call.body(_CREATE)["group_snapshot"]
    with call.write() as session:
        group = group_of(call, session, fields["group_id"], "group:create_group_snapshot")
        row = GroupSnapshot(
            id=call.site.new_uuid(),
            group_id=group.id,
            group_type_id=group.group_type_id,
            project_id=group.project_id,
            user_id=call.context.user_id,
            name=fields.get("name"),
            description=fields.get("description"),
            status="creating",
            host=call.site.host,
            created_us=call.site.now_us(),
        )
        session.add(row)
        session.flush()
        add_snapshots(call, session, row)
    body = {"id": row.id, "name": row.name, "group_type_id": row.group_type_id}
    return json_answer({"group_snapshot": body}, 202)


def _delete(call: Call) -> Answer:
    with call.write() as session:
        settle(session)
        row = _found(call, session, "group:delete_group_snapshot")
        check_snapshot_deletable(session, row)
        for snapshot in snapshots_of(session, row.id):
            snapshot.status = "deleting"
        row.status, row.host = "deleting", call.site.host
        session.flush()
        settle(session)
    return Answer(202)


def act(call: Call) -> Answer:
    """POST /v3/group_snapshots/{group_snapshot_id}/action: reset_status."""
    if "reset_status" not in call.request.json():
        raise BadRequest(f"There is no such action: {next(iter(call.request.json()), '')}")
    status = call.body(_RESET)["reset_status"]["status"].lower()
    if status not in STATUSES:
        raise BadRequest(
            f"Invalid GroupSnapshot Status: Group snapshot status: {status} is invalid, valid statuses"
            f" are: {STATUSES}."
        )
    with call.write() as session:
        _found(call, session, "group:reset_group_snapshot_status").status = status
    return Answer(202)


class _Actions:
    """Requests that need hands at the backends."""

    def __init__(self, work: GroupWork) -> None:
        self._work = work

    async def create(self, call: Call) -> Answer:
        """POST /v3/group_snapshots."""
        answer = await call.site.database.run(lambda: _create(call))
        self._work.ask()
        return answer

    async def delete(self, call: Call) -> Answer:
        """DELETE of one."""
        answer = await call.site.database.run(lambda: _delete(call))
        self._work.ask()
        return answer


def routes(work: GroupWork) -> list[tuple[Any, ...]]:
    """What answers requests about group snapshots."""
    actions = _Actions(work)
    one = "/v3/group_snapshots/{group_snapshot_id}"
    return [
        ("GET", "/v3/group_snapshots", list_snapshots, SINCE),
        ("GET", "/v3/group_snapshots/detail", list_details, SINCE),
        ("POST", "/v3/group_snapshots", actions.create, SINCE),
        ("GET", one, show_snapshot, SINCE),
        ("DELETE", one, actions.delete, SINCE),
        ("POST", f"{one}/action", act, RESET_SINCE),
    ]
