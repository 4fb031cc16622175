"""/v3/types/{type_id}/extra_specs: what a type asks of a backend."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.api.types import RULE, found, in_use, specs_for
from compute.volume.call import Call
from compute.volume.models.types import VolumeType

YES: Final = "<is> True"

_CREATE_SPECS = Schema(
    {
        "type": "object",
        "properties": {"extra_specs": forms.PLAIN_SPECS},
        "required": ["extra_specs"],
        "additionalProperties": False,
    }
)
_UPDATE_SPECS = Schema(forms.ONE_PLAIN_SPEC)


def _for_change(call: Call, session: Session) -> VolumeType:
    row = found(call, session)
    if in_use(session, row):
        raise BadRequest("Volume Type is currently in use.")
    return row


def _set_specs(row: VolumeType, specs: Mapping[str, Any], now_us: int) -> None:
    merged = {**row.extra_specs, **specs}
    if merged.get("multiattach") == YES and merged.get("cacheable") == YES:
        raise BadRequest("cacheable cannot be set with multiattach.")
    row.extra_specs, row.updated_us = merged, now_us


def list_specs(call: Call) -> Answer:
    """GET /v3/types/{type_id}/extra_specs."""
    call.enforce(f"{RULE}:types_extra_specs:index")
    with call.read() as session:
        row = found(call, session)
    return json_answer({"extra_specs": specs_for(call, row.extra_specs)})


def show_spec(call: Call) -> Answer:
    """GET of one."""
    call.enforce(f"{RULE}:types_extra_specs:show")
    with call.read() as session:
        row = found(call, session)
    key, specs = call.path["key"], specs_for(call, row.extra_specs)
    if key not in specs:
        raise _no_such_spec(row.id, key)
    return json_answer({key: specs[key]})


def _no_such_spec(type_id: str, key: str) -> NotFound:
    return NotFound(f"Volume Type {type_id} has no extra specs with key {key}.")


def create_specs(call: Call) -> Answer:
    """POST: these, beside those that are there."""
    call.enforce(f"{RULE}:types_extra_specs:create")
    body = call.body(_CREATE_SPECS)
    with call.write() as session:
        _set_specs(_for_change(call, session), body["extra_specs"], call.site.now_us())
    return json_answer(body)


def update_spec(call: Call) -> Answer:
    """PUT of one."""
    call.enforce(f"{RULE}:types_extra_specs:update")
    body = call.body(_UPDATE_SPECS)
    with call.write() as session:
        row = _for_change(call, session)
        if call.path["key"] not in body:
            raise BadRequest("Request body and URI mismatch")
        _set_specs(row, body, call.site.now_us())
    return json_answer(body)


def delete_spec(call: Call) -> Answer:
    """DELETE of one."""
    call.enforce(f"{RULE}:types_extra_specs:delete")
    key = call.path["key"]
    with call.write() as session:
        row = _for_change(call, session)
        if key not in row.extra_specs:
            raise _no_such_spec(row.id, key)
        row.extra_specs = {k: v for k, v in row.extra_specs.items() if k != key}
        row.updated_us = call.site.now_us()
    return Answer(202)


_SPECS = "/v3/types/{type_id}/extra_specs"
ROUTES: Final = [
    ("GET", _SPECS, list_specs),
    ("POST", _SPECS, create_specs),
    ("GET", f"{_SPECS}/{{key}}", show_spec),
    ("PUT", f"{_SPECS}/{{key}}", update_spec),
    ("DELETE", f"{_SPECS}/{{key}}", delete_spec),
]
