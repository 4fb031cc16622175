"""/v3/messages: why requests came to nothing, for the users of the project that made them."""

from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.volume.api.filters import FILTERS
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.messages import text_of
from compute.volume.models.services import Message
from compute.volume.paging import PARAMETERS, Page, next_links, page_of, rows_of

SINCE: Final = 3
PAGES_SINCE: Final = 5
FILTERS_SINCE: Final = 31
PLAIN: Final = Page(1000, 0, None, (("created_at", False),))

_COLUMNS: Final = {
    "id": Message.id,
    "created_at": Message.created_us,
    "event_id": Message.event_id,
    "message_level": Message.level,
    "guaranteed_until": Message.expires_us,
}
_FILTERED: Final = {
    "resource_uuid": Message.resource_id,
    "resource_type": Message.resource_type,
    "event_id": Message.event_id,
    "request_id": Message.request_id,
    "message_level": Message.level,
}


def _view(call: Call, row: Message) -> dict[str, Any]:
    view = {
        "id": row.id,
        "event_id": row.event_id,
        "user_message": text_of(row),
        "message_level": row.level,
        "created_at": written(row.created_us),
        "guaranteed_until": written(row.expires_us),
        "request_id": row.request_id or "",
        "links": call.links("messages", row.id),
    }
    if row.resource_type:
        view |= {"resource_type": row.resource_type, "resource_uuid": row.resource_id}
    return view


def _filtered(call: Call) -> Select[Any]:
    query = select(Message)
    if not (call.context.is_admin and call.query("all_tenants")):
        query = query.where(Message.project_id == call.context.project_id)
    if call.minor < PAGES_SINCE:
        return query
    asked = {key: value for key, value in call.request.query.items() if key not in PARAMETERS}
    unknown = [key for key in asked if key not in FILTERS["message"] and key != "all_tenants"]
    if unknown and call.minor >= FILTERS_SINCE and not call.context.is_admin:
        raise BadRequest(f"Invalid filters {','.join(unknown)} are found in query options.")
    for key, column in _FILTERED.items():
        if key in asked:
            query = query.where(column == asked[key])
    return query


def list_messages(call: Call) -> Answer:
    """GET /v3/messages."""
    call.enforce("message:get_all")
    page = page_of(call.request.query) if call.minor >= PAGES_SINCE else PLAIN
    with call.read() as session:
        rows = rows_of(session, _filtered(call), page, _COLUMNS, Message)
    links = next_links(call.request, rows) if call.minor >= PAGES_SINCE else []
    body: dict[str, Any] = {"messages": [_view(call, row) for row in rows]}
    return json_answer(body | ({"messages_links": links} if links else {}))


def _found(call: Call, session: Session, rule: str) -> Message:
    """The message, for a caller who may; others' are not there."""
    ident = call.path["message_id"]
    row = session.get(Message, ident)
    mine = row is not None and (call.context.is_admin or row.project_id == call.context.project_id)
    if row is None or not mine:
        raise NotFound(f"Message {ident} could not be found.")
    call.enforce(rule, project_id=row.project_id)
    return row


def show_message(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        row = _found(call, session, "message:get")
    return json_answer({"message": _view(call, row)})


def delete_message(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        session.delete(_found(call, session, "message:delete"))
    return NO_CONTENT


ROUTES: Final = [
    ("GET", "/v3/messages", list_messages, SINCE),
    ("GET", "/v3/messages/{message_id}", show_message, SINCE),
    ("DELETE", "/v3/messages/{message_id}", delete_message, SINCE),
]
