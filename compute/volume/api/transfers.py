"""/v3/os-volume-transfer and /v3/volume-transfers: a volume goes from one project to another."""

from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume import transfers
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.matching import is_true
from compute.volume.models.attachments import Transfer
from compute.volume.models.volumes import Snapshot, Volume
from compute.volume.paging import Page, next_links, page_of, rows_of
from compute.volume.quotas import PER_VOLUME, reserve
from compute.volume.volumes import invalid_snapshot, invalid_volume, snapshots_of, volume_of

SNAPSHOTS_SINCE: Final = 55
HISTORY_SINCE: Final = 57
PAGES_SINCE: Final = 59
OFFERED: Final = "awaiting-transfer"
PLACES: Final = (("/v3/os-volume-transfer", 0), ("/v3/volume-transfers", SNAPSHOTS_SINCE))
"""The second is the newer name of the same."""

_FIELDS: Final[dict[str, Any]] = {"volume_id": forms.UUID, "name": forms.NAME_OR_NULL}
_CREATE = Schema(forms.within("transfer", _FIELDS, "volume_id"))
_CREATE_SNAPSHOTS = Schema(
    forms.within("transfer", {**_FIELDS, "no_snapshots": forms.TRUTH}, "volume_id")
)
_ACCEPT = Schema(forms.within("accept", {"auth_key": {"type": ["string", "integer"]}}, "auth_key"))
_COLUMNS: Final = {
    "id": Transfer.id,
    "created_at": Transfer.created_us,
    "name": func.coalesce(Transfer.name, ""),
    "display_name": func.coalesce(Transfer.name, ""),
    "volume_id": Transfer.volume_id,
}
_FILTERED: Final = {
    "id": Transfer.id,
    "name": Transfer.name,
    "display_name": Transfer.name,
    "volume_id": Transfer.volume_id,
    "source_project_id": Transfer.source_project_id,
}


def _summary(call: Call, row: Transfer) -> dict[str, Any]:
    return {
        "id": row.id,
        "volume_id": row.volume_id,
        "name": row.name,
        "links": call.links("os-volume-transfer", row.id),
    }


def _detail(call: Call, row: Transfer) -> dict[str, Any]:
    view = _summary(call, row) | {"created_at": written(row.created_us)}
    if call.minor >= SNAPSHOTS_SINCE:
        view["no_snapshots"] = not row.keeps_snapshots
    if call.minor >= HISTORY_SINCE:
        source = row.source_project_id
        view |= {"source_project_id": source, "destination_project_id": None, "accepted": False}
    return view


# -- reading --


def _listed(call: Call) -> Select[Any]:
    query = select(Transfer)
    if not (call.context.is_admin and is_true(call.query("all_tenants") or "false")):
        query = query.where(Transfer.source_project_id == call.context.project_id)
    for name, column in _FILTERED.items():
        value = call.query(name)
        if value is not None:
            query = query.where(column == value)
    return query


def _list(call: Call, view: Any) -> Answer:
    call.enforce("volume:get_all_transfers")
    page = page_of(call.request.query)
    if call.minor < PAGES_SINCE:
        page = Page(page.limit, 0, None, (("created_at", True),))
    with call.read() as session:
        rows = rows_of(session, _listed(call), page, _COLUMNS, Transfer)
        body: dict[str, Any] = {"transfers": [view(call, row) for row in rows]}
    links = next_links(call.request, rows) if call.minor >= PAGES_SINCE else []
    return json_answer(body | ({"transfers_links": links} if links else {}))


def list_transfers(call: Call) -> Answer:
    """GET of all."""
    return _list(call, _summary)


def list_details(call: Call) -> Answer:
    """GET …/detail."""
    return _list(call, _detail)


def _found(call: Call, session: Session, rule: str) -> Transfer:
    """A transfer of the caller's project; others' are not there."""
    row = session.get(Transfer, call.path["transfer_id"])
    if row is None or not call.allowed("volume:get_transfer", project_id=row.source_project_id):
        raise _no_such_transfer(call)
    call.enforce(rule, project_id=row.source_project_id)
    return row


def _no_such_transfer(call: Call) -> NotFound:
    return NotFound(f"Transfer {call.path['transfer_id']} could not be found.")


def show(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        return json_answer({"transfer": _detail(call, _found(call, session, "volume:get_transfer"))})


# -- offering --


def create(call: Call) -> Answer:
    """POST: the answer alone has the key."""
    schema = _CREATE_SNAPSHOTS if call.minor >= SNAPSHOTS_SINCE else _CREATE
    fields = call.body(schema)["transfer"]
    keeps = not is_true(fields.get("no_snapshots", False))
    name = fields["name"].strip() if fields.get("name") else fields.get("name")
    lock = transfers.made(call.site.randomness)
    with call.write() as session:
        volume = volume_of(call, session, "volume:create_transfer", fields["volume_id"])
        _check_free(session, volume, keeps)
        stale = session.scalar(select(Transfer).where(Transfer.volume_id == volume.id))
        if stale is not None:  # the volume's status was reset by hand
            session.delete(stale)
            session.flush()
        row = Transfer(
            id=call.site.new_uuid(),
            volume_id=volume.id,
            name=name,
            salt=lock.salt,
            key_hash=lock.key_hash,
            keeps_snapshots=keeps,
            source_project_id=volume.project_id,
            created_us=call.site.now_us(),
        )
        session.add(row)
        volume.status = OFFERED
        view = _detail(call, row) | {"auth_key": lock.key}
    return json_answer({"transfer": view}, 202)


def _check_free(session: Session, volume: Volume, keeps_snapshots: bool) -> None:
    if volume.status != "available":
        raise invalid_volume("status must be available")
    if volume.group_id is not None:
        raise invalid_volume(f"Volume {volume.id} must not be part of a group.")
    for snapshot in snapshots_of(session, volume.id) if keeps_snapshots else []:
        if snapshot.status != "available":
            raise invalid_snapshot(f"snapshot: {snapshot.id} status must be available")


def delete(call: Call) -> Answer:
    """DELETE: the offer is no more."""
    with call.write() as session:
        row = _found(call, session, "volume:delete_transfer")
        volume = session.get_one(Volume, row.volume_id)
        if volume.status == OFFERED:
            volume.status = "available"
        session.delete(row)
    return Answer(202)


# -- accepting --


def accept(call: Call) -> Answer:
    """POST …/accept: the volume is the caller's project's, if the key is right and there is room."""
    key = str(call.body(_ACCEPT)["accept"]["auth_key"])
    call.enforce("volume:accept_transfer")
    project_id = call.context.project_id
    if project_id is None:
        raise BadRequest("Invalid input received: a token of a project is needed.")
    with call.write() as session:
        row = session.get(Transfer, call.path["transfer_id"])
        if row is None:
            raise _no_such_transfer(call)
        if not transfers.opens(row.salt, row.key_hash, key):
            raise BadRequest(f"Invalid auth key: Attempt to transfer {row.id} with invalid auth key.")
        volume = session.get_one(Volume, row.volume_id)
        if volume.status != OFFERED:
            raise invalid_volume(f"Volume {volume.id} is not {OFFERED}.")
        snapshots = snapshots_of(session, volume.id) if row.keeps_snapshots else []
        _check_room(session, project_id, volume, snapshots)
        volume.status, volume.updated_us = "available", call.site.now_us()
        volume.project_id, volume.user_id = project_id, call.context.user_id
        for one in snapshots:
            one.project_id, one.user_id = project_id, call.context.user_id
        session.delete(row)
        view = _summary(call, row)
    return json_answer({"transfer": view}, 202)


def _check_room(session: Session, project_id: str, volume: Volume, snapshots: list[Snapshot]) -> None:
    """Raises OverLimit."""
    if volume.project_id == project_id:
        return
    size = volume.size_gib + sum(one.size_gib for one in snapshots)
    more = {"volumes": 1, "gigabytes": size, PER_VOLUME: volume.size_gib}
    more |= {"snapshots": len(snapshots)} if snapshots else {}
    reserve(session, project_id, more, volume.volume_type_id)


ROUTES: Final[list[tuple[Any, ...]]] = [
    (method, f"{place}{rest}", handler, since)
    for place, since in PLACES
    for method, rest, handler in (
        ("GET", "", list_transfers),
        ("POST", "", create),
        ("GET", "/detail", list_details),
        ("GET", "/{transfer_id}", show),
        ("DELETE", "/{transfer_id}", delete),
        ("POST", "/{transfer_id}/accept", accept),
    )
]
