"""/v3/attachments: reserve a volume, connect to it, say that it is attached, give it back."""

import logging
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.server.errors import ApiError, BadRequest, Conflict
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.attachments import (
    FAILED,
    NOT_EXPORTED,
    THERE,
    UNWANTED,
    WANTED,
    attachments_of,
    end,
    exports_of,
    is_read_only,
    no_such_attachment,
    settle,
)
from compute.volume.call import Call
from compute.volume.exports import ExportFailed, Exports
from compute.volume.instants import written
from compute.volume.models.attachments import Attachment
from compute.volume.models.volumes import Volume
from compute.volume.paging import next_links, page_of, rows_of
from compute.volume.volumes import invalid_volume, volume_of

SINCE: Final = 27
COMPLETE_SINCE: Final = 44
MODE_SINCE: Final = 54
CONNECTOR_BYTES_MAX: Final = 64 * 1024
MODES: Final = ("rw", "ro")

_FIELDS: Final[dict[str, Any]] = {
    "volume_uuid": forms.UUID,
    "instance_uuid": forms.UUID,
    "connector": {"type": ["object", "null"]},
}
_CREATE = Schema(forms.within("attachment", _FIELDS, "volume_uuid"))
_CREATE_MODE = Schema(
    forms.within("attachment", {**_FIELDS, "mode": {"enum": list(MODES)}}, "volume_uuid")
)
_UPDATE = Schema(
    forms.within("attachment", {"connector": {"type": "object", "minProperties": 1}}, "connector")
)
_COMPLETE = Schema(
    {
        "type": "object",
        "properties": {"os-complete": {}},
        "required": ["os-complete"],
        "additionalProperties": False,
    }
)
_COLUMNS: Final = {"id": Attachment.id, "created_at": Attachment.created_us}
_FILTERED: Final = {
    "volume_id": Attachment.volume_id,
    "instance_id": Attachment.instance_id,
    "status": Attachment.status,
    "attach_status": Attachment.status,
}

log = logging.getLogger("atoll.cloud.volume")


class Failed(ApiError):
    """The backend could not do it."""

    status = 500


# -- as the API writes them --


def _summary(row: Attachment) -> dict[str, Any]:
    return {
        "id": row.id,
        "status": row.status,
        "instance": row.instance_id,
        "volume_id": row.volume_id,
    }


def _detail(row: Attachment) -> dict[str, Any]:
    connection = {**row.connection, "attachment_id": row.id} if row.connection else {}
    return _summary(row) | {
        "attached_at": written(row.attached_us) or "",
        "detached_at": "",
        "attach_mode": row.mode,
        "connection_info": connection if row.export == THERE else {},
    }


# -- reading --


def _listed(call: Call) -> Select[Any]:
    query = select(Attachment).join(Volume, Volume.id == Attachment.volume_id)
    query = query.where(Attachment.is_shown)
    if not (call.context.is_admin and call.query("all_tenants") is not None):
        query = query.where(Volume.project_id == call.context.project_id)
    for name, column in _FILTERED.items():
        value = call.query(name)
        if value is not None:
            query = query.where(column == value)
    return query


def _list(call: Call, view: Any) -> Answer:
    with call.read() as session:
        rows = rows_of(session, _listed(call), page_of(call.request.query), _COLUMNS, Attachment)
        body: dict[str, Any] = {"attachments": [view(row) for row in rows]}
    links = next_links(call.request, rows)
    return json_answer(body | ({"attachments_links": links} if links else {}))


def list_attachments(call: Call) -> Answer:
    """GET /v3/attachments."""
    return _list(call, _summary)


def list_details(call: Call) -> Answer:
    """GET /v3/attachments/detail."""
    return _list(call, _detail)


def _found(call: Call, session: Session, rule: str | None = None) -> tuple[Attachment, Volume]:
    """An attachment and its volume, for a caller who may; others' are not there."""
    ident = call.path["attachment_id"]
    row = session.get(Attachment, ident)
    volume = session.get(Volume, row.volume_id) if row is not None else None
    if row is None or volume is None or not row.is_shown:
        raise no_such_attachment(ident)
    if not call.allowed("volume:get", project_id=volume.project_id):
        raise no_such_attachment(ident)
    if rule is not None:
        call.enforce(rule, project_id=volume.project_id)
    return row, volume


def show(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        return json_answer({"attachment": _detail(_found(call, session)[0])})


# -- reserving --


def reserve(call: Call, session: Session, volume: Volume, instance_id: str | None) -> Attachment:
    """A new attachment of a volume that is free for it. Raises BadRequest."""
    if "error" in volume.status:
        raise invalid_volume(
            "Volume attachments can not be created if the volume is in an error state. The Volume"
            f" {volume.id} currently has a status of: {volume.status} "
        )
    if volume.is_multiattach and volume.status == "in-use" and volume.is_bootable:
        call.enforce("volume:multiattach_bootable_volume", project_id=volume.project_id)
    free = ("available", "in-use") if volume.is_multiattach else ("available",)
    there = attachments_of(session, volume.id)
    moving = volume.status in ("in-use", "reserved") and instance_id is not None
    again = moving and any(row.instance_id == instance_id for row in there)
    if volume.status not in free and not again:
        raise invalid_volume(
            f"Volume {volume.id} status must be {' or '.join(free)} to reserve, but the current status"
            f" is {volume.status}."
        )
    row = Attachment(
        id=call.site.new_uuid(),
        volume_id=volume.id,
        is_shown=True,
        instance_id=instance_id,
        mode="null",
        status="reserved",
        export=NOT_EXPORTED,
        created_us=call.site.now_us(),
    )
    session.add(row)
    if volume.status == "available":
        volume.status = "reserved"
    return row


def _want(session: Session, row: Attachment, volume: Volume, connector: dict[str, Any]) -> None:
    """Ask for an export to a connector. Raises BadRequest, Conflict."""
    check_connector(connector)
    others = [one for one in exports_of(session, volume.id) if one.id != row.id]
    if not volume.is_multiattach and any(one.export != FAILED for one in others):
        raise Conflict(f"duplicate connectors detected on volume {volume.id}")
    mode = connector.get("mode") or row.mode
    row.mode = mode if mode in MODES else row.mode
    row.connector, row.host_name = connector, connector.get("host")
    row.mountpoint = connector.get("mountpoint")
    row.export, row.status = WANTED, "attaching"
    settle(session, volume)


def check_connector(connector: dict[str, Any]) -> None:
    """Raises BadRequest."""
    if len(str(connector)) > CONNECTOR_BYTES_MAX:
        raise BadRequest(f"A connector has at most {CONNECTOR_BYTES_MAX} bytes.")
    for name in ("host", "mountpoint", "mode"):
        value = connector.get(name)
        if value is not None and not (isinstance(value, str) and len(value) <= 255):
            raise BadRequest(f"Invalid input received: '{name}' of a connector is a text.")


class _Attaching:
    """What needs the volume's host."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def create(self, call: Call) -> Answer:
        """POST /v3/attachments: reserve; with a connector, export at once."""
        fields = call.body(_CREATE_MODE if call.minor >= MODE_SINCE else _CREATE)["attachment"]
        connector = fields.get("connector")

        def make() -> str:
            with call.write() as session:
                volume = volume_of(call, session, "volume:attachment_create", fields["volume_uuid"])
                row = reserve(call, session, volume, fields.get("instance_uuid"))
                asked = fields.get("mode") or "null"
                row.mode = "ro" if is_read_only(volume, asked) else asked
                session.flush()
                if connector:
                    _want(session, row, volume, connector)
                return row.id

        ident = await call.site.database.run(make)
        if connector:
            await self._bring(call, ident, keep_row=False)
        return await self._shown(call, ident)

    async def update(self, call: Call) -> Answer:
        """PUT: export what was reserved."""
        connector = call.body(_UPDATE)["attachment"]["connector"]

        def want() -> str:
            with call.write() as session:
                row, volume = _found(call, session, "volume:attachment_update")
                if "error" in volume.status:
                    raise Conflict(
                        "Volume attachments can not be updated if the volume is in an error state. The"
                        f" Volume {volume.id} currently has a status of: {volume.status} "
                    )
                if row.export == UNWANTED:
                    raise Conflict(f"Attachment {row.id} is being deleted.")
                if row.export != THERE:
                    _want(session, row, volume, connector)
                return row.id

        ident = await call.site.database.run(want)
        await self._bring(call, ident, keep_row=True)
        return await self._shown(call, ident)

    async def _bring(self, call: Call, ident: str, *, keep_row: bool) -> None:
        verb = "update" if keep_row else "create"
        try:
            await self._exports.bring(ident)
        except ExportFailed as error:
            await call.site.database.run(lambda: self._exports.take_back(ident, keep_row=keep_row))
            raise Failed(f"Unable to {verb} attachment for volume.") from error
        except BaseException:
            await call.site.database.run(lambda: self._exports.take_back(ident, keep_row=keep_row))
            raise

    async def _shown(self, call: Call, ident: str) -> Answer:
        def look() -> Answer:
            with call.read() as session:
                row = session.get(Attachment, ident)
                if row is None:
                    raise no_such_attachment(ident)
                return json_answer({"attachment": _detail(row)})

        return await call.site.database.run(look)

    async def delete(self, call: Call) -> Answer:
        """DELETE: the export ends before this is answered. The volume's other attachments."""

        def begin() -> tuple[str, str, bool]:
            with call.write() as session:
                row, volume = _found(call, session, "volume:attachment_delete")
                ident, volume_id = row.id, volume.id
                return ident, volume_id, end(session, row, volume)

        ident, volume_id, exported = await call.site.database.run(begin)
        if exported:
            await self._exports.end(ident)

        def rest() -> Answer:
            with call.read() as session:
                rows = attachments_of(session, volume_id)
                return json_answer({"attachments": [_summary(row) for row in rows]})

        return await call.site.database.run(rest)


def act(call: Call) -> Answer:
    """POST …/action: `os-complete`, the volume is attached now."""
    call.body(_COMPLETE)
    with call.write() as session:
        row, volume = _found(call, session, "volume:attachment_complete")
        if row.export == UNWANTED:
            raise Conflict(f"Attachment {row.id} is being deleted.")
        row.status, row.attached_us = "attached", call.site.now_us()
        settle(session, volume)
    return NO_CONTENT


def routes(exports: Exports) -> list[tuple[Any, ...]]:
    """What answers them."""
    attaching = _Attaching(exports)
    return [
        ("GET", "/v3/attachments", list_attachments, SINCE),
        ("GET", "/v3/attachments/detail", list_details, SINCE),
        ("POST", "/v3/attachments", attaching.create, SINCE),
        ("GET", "/v3/attachments/{attachment_id}", show, SINCE),
        ("PUT", "/v3/attachments/{attachment_id}", attaching.update, SINCE),
        ("DELETE", "/v3/attachments/{attachment_id}", attaching.delete, SINCE),
        ("POST", "/v3/attachments/{attachment_id}/action", act, COMPLETE_SINCE),
    ]
