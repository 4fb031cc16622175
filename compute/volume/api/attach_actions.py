"""Volume actions about attaching, as they were before there were attachments with an API of their own.

A connection made by `os-initialize_connection` is an attachment that the API does not show; what
`os-attach` notes is one without an export.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.server.errors import ApiError, Conflict
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.attachments import MODES, check_connector
from compute.volume.attachments import (
    THERE,
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
from compute.volume.models.attachments import Attachment
from compute.volume.models.volumes import Volume
from compute.volume.rules.attachments import ACTIONS
from compute.volume.volumes import SETTLED, invalid_volume, volume_of

Action = Callable[[Call], Awaitable[Answer]]

_CONNECTOR: Final = {"type": "object", "minProperties": 1}
_INITIALIZE = Schema(forms.within("os-initialize_connection", {"connector": _CONNECTOR}, "connector"))
_TERMINATE = Schema(
    forms.within("os-terminate_connection", {"connector": {"type": ["object", "null"]}}, "connector")
)
_ATTACH = Schema(
    forms.within(
        "os-attach",
        {
            "instance_uuid": forms.UUID,
            "mountpoint": {"type": "string", "minLength": 1, "maxLength": 255},
            "host_name": {"type": "string", "maxLength": 255},
            "mode": {"enum": list(MODES)},
        },
        "mountpoint",
        anyOf=[{"required": ["instance_uuid"]}, {"required": ["host_name"]}],
    )
)
_ID_OR_NULL: Final = {"oneOf": [forms.UUID, {"type": "null"}]}


def _maybe_null(name: str, fields: dict[str, Any]) -> Schema:
    form = forms.within(name, fields)
    form["properties"][name]["type"] = ["object", "null"]
    return Schema(form)


_DETACH = _maybe_null("os-detach", {"attachment_id": _ID_OR_NULL})
_FORCE_DETACH = _maybe_null(
    "os-force_detach",
    {"attachment_id": _ID_OR_NULL, "connector": {"type": ["object", "null"]}},
)


class BackendFailed(ApiError):
    """The backend could not do it."""

    status = 500


# -- states alone --


def _reserve(call: Call, session: Session) -> None:
    row = volume_of(call, session, f"{ACTIONS}:reserve")
    free = ("available", "in-use") if row.is_multiattach else ("available",)
    if row.status not in free:
        raise invalid_volume(
            f"Volume status must be {' or '.join(free)} to reserve, but the status is {row.status}."
        )
    row.previous_status, row.status = row.status, "attaching"


def _unreserve(call: Call, session: Session) -> None:
    row = volume_of(call, session, f"{ACTIONS}:unreserve")
    if row.status == "attaching" and not exports_of(session, row.id):
        row.status = "in-use" if row.attach_status == "attached" else "available"


def _begin_detaching(call: Call, session: Session) -> None:
    row = volume_of(call, session, f"{ACTIONS}:begin_detaching")
    attached = row.status == "in-use" and row.attach_status == "attached"
    if not attached or row.migration_status not in SETTLED:
        raise invalid_volume(
            "Unable to detach volume. Volume status must be 'in-use' and attach_status must be"
            " 'attached' to detach."
        )
    row.status = "detaching"


def _roll_detaching(call: Call, session: Session) -> None:
    row = volume_of(call, session, f"{ACTIONS}:roll_detaching")
    if row.status == "detaching":
        row.status = "in-use"


_STATES: Final[Mapping[str, Callable[[Call, Session], None]]] = {
    "os-reserve": _reserve,
    "os-unreserve": _unreserve,
    "os-begin_detaching": _begin_detaching,
    "os-roll_detaching": _roll_detaching,
}


async def _change(call: Call, change: Callable[[Call, Session], None]) -> Answer:
    def run() -> None:
        with call.write() as session:
            change(call, session)

    await call.site.database.run(run)
    return Answer(202)


# -- attaching and detaching --


def _attach(call: Call, session: Session) -> None:
    fields = call.body(_ATTACH)["os-attach"]
    volume = volume_of(call, session, f"{ACTIONS}:attach")
    free = ("available", "reserved", "attaching", *(("in-use",) if volume.is_multiattach else ()))
    if volume.status not in free:
        raise invalid_volume(
            f"Volume {volume.id} status must be available or reserved to attach, but the status is"
            f" {volume.status}."
        )
    mode = fields.get("mode") or "rw"
    if mode == "rw" and is_read_only(volume, mode):
        raise invalid_volume(f"Invalid attaching mode '{mode}' for volume {volume.id}.")
    now = call.site.now_us()
    session.add(
        Attachment(
            id=call.site.new_uuid(),
            volume_id=volume.id,
            is_shown=True,
            instance_id=fields.get("instance_uuid"),
            host_name=fields.get("host_name"),
            mountpoint=fields["mountpoint"],
            mode=mode,
            status="attached",
            export="",
            created_us=now,
            attached_us=now,
        )
    )
    volume.status = "in-use"
    settle(session, volume)


def _one(session: Session, volume: Volume, ident: str | None) -> list[Attachment]:
    """The attachment that is meant, if there is any. Raises NotFound, BadRequest."""
    there = attachments_of(session, volume.id)
    if ident is None and len(there) > 1:
        raise invalid_volume(
            "Detach volume failed: More than one attachment, but no attachment_id provided."
        )
    found = [row for row in there if ident is None or row.id == ident]
    if ident is not None and not found:
        raise no_such_attachment(ident)
    return found


class AttachActions:
    """All of them by their names."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    def actions(self) -> dict[str, Action]:
        """What does each."""
        states = {name: self._state(change) for name, change in _STATES.items()}
        return {
            **states,
            "os-attach": self._state(_attach),
            "os-detach": self._detach,
            "os-force_detach": self._force_detach,
            "os-initialize_connection": self._initialize,
            "os-terminate_connection": self._terminate,
        }

    def _state(self, change: Callable[[Call, Session], None]) -> Action:
        return lambda call: _change(call, change)

    async def _detach(self, call: Call) -> Answer:
        fields = call.body(_DETACH)["os-detach"] or {}

        def begin() -> list[str]:
            with call.write() as session:
                volume = volume_of(call, session, f"{ACTIONS}:detach")
                found = _one(session, volume, fields.get("attachment_id"))
                if not found and volume.status in ("in-use", "detaching"):
                    settle(session, volume)
                return [row.id for row in found if end(session, row, volume)]

        return await self._ended(call, begin)

    async def _force_detach(self, call: Call) -> Answer:
        """Whatever the volume's state: its exports end, and hidden connections with them."""
        fields = call.body(_FORCE_DETACH)["os-force_detach"] or {}

        def begin() -> list[str]:
            with call.write() as session:
                rule = "volume_extension:volume_admin_actions:force_detach"
                volume = volume_of(call, session, rule)
                found = _one(session, volume, fields.get("attachment_id"))
                hidden = [row for row in exports_of(session, volume.id) if not row.is_shown]
                ended = [row.id for row in (*found, *hidden) if end(session, row, volume)]
                settle(session, volume)
                return ended

        return await self._ended(call, begin)

    async def _terminate(self, call: Call) -> Answer:
        connector = call.body(_TERMINATE)["os-terminate_connection"]["connector"] or {}

        def begin() -> list[str]:
            with call.write() as session:
                volume = volume_of(call, session, f"{ACTIONS}:terminate_connection")
                rows = [row for row in exports_of(session, volume.id) if not row.is_shown]
                host = connector.get("host")
                mine = [row for row in rows if not connector or row.host_name == host]
                return [row.id for row in mine if end(session, row, volume)]

        return await self._ended(call, begin)

    async def _ended(self, call: Call, begin: Callable[[], list[str]]) -> Answer:
        for ident in await call.site.database.run(begin):
            await self._exports.end(ident)
        return Answer(202)

    async def _initialize(self, call: Call) -> Answer:
        connector = call.body(_INITIALIZE)["os-initialize_connection"]["connector"]
        check_connector(connector)

        def want() -> str:
            with call.write() as session:
                volume = volume_of(call, session, f"{ACTIONS}:initialize_connection")
                return _connected(call, session, volume, connector)

        ident = await call.site.database.run(want)
        try:
            await self._exports.bring(ident)
        except BaseException as error:
            await call.site.database.run(lambda: self._exports.take_back(ident, keep_row=False))
            if isinstance(error, ExportFailed):
                said = "Unable to fetch connection information from backend."
                raise BackendFailed(said) from error
            raise

        def look() -> Answer:
            with call.read() as session:
                row = session.get(Attachment, ident)
                if row is None or row.connection is None:
                    raise Conflict("The connection was ended meanwhile.")
                data = dict(row.connection)
                kind = data.pop("driver_volume_type")
                multipath = bool(connector.get("enforce_multipath", False))
                info = {"driver_volume_type": kind, "data": data, "enforce_multipath": multipath}
                return json_answer({"connection_info": info})

        return await call.site.database.run(look)


def _connected(call: Call, session: Session, volume: Volume, connector: dict[str, Any]) -> str:
    """The hidden attachment for a connector, made where it is not there. Raises Conflict."""
    known = exports_of(session, volume.id)
    for row in known:
        if not row.is_shown and row.host_name == connector.get("host") and row.export == THERE:
            return row.id
    if known and not volume.is_multiattach:
        raise Conflict(f"duplicate connectors detected on volume {volume.id}")
    if volume.status not in ("available", "reserved", "attaching", "in-use"):
        raise invalid_volume(f"Volume {volume.id} can't be connected to while it is {volume.status}.")
    ident = call.site.new_uuid()
    session.add(
        Attachment(
            id=ident,
            volume_id=volume.id,
            is_shown=False,
            host_name=connector.get("host"),
            mode="ro" if is_read_only(volume, "null") else "rw",
            status="attaching",
            export=WANTED,
            connector=connector,
            created_us=call.site.now_us(),
        )
    )
    return ident
