"""/v3/types/{type_id}/encryption: how volumes of a type are to be encrypted."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.instants import written
from compute.volume.kinds import type_by_id
from compute.volume.models.types import TypeEncryption, VolumeType
from compute.volume.models.volumes import Volume

RULE: Final = "volume_extension:volume_type_encryption"
KEY_BITS_MAX: Final = 2**31 - 1
KNOWN: Final = ("provider", "control_location", "cipher", "key_size")

_FIELDS: Final[forms.Form] = {
    "key_size": {
        "type": ["string", "integer", "null"],
        "minimum": 0,
        "maximum": KEY_BITS_MAX,
        "pattern": r"^[0-9]{1,9}$",
    },
    "provider": {"type": "string", "minLength": 0, "maxLength": 255},
    "control_location": {"enum": ["front-end", "back-end"]},
    "cipher": {"type": ["string", "null"], "minLength": 0, "maxLength": 255},
}
_CREATE = Schema(forms.within("encryption", _FIELDS, "provider", "control_location", more=True))
_UPDATE = Schema(forms.within("encryption", _FIELDS, more=True))


def _fields(call: Call, schema: Schema) -> dict[str, Any]:
    """What is known of what was sent; a key's size as a number."""
    sent: dict[str, Any] = call.body(schema)["encryption"]
    fields: dict[str, Any] = {name: sent[name] for name in KNOWN if name in sent}
    if fields.get("key_size") is not None:
        fields["key_size"] = int(fields["key_size"])
    return fields


def _type_of(call: Call, session: Session) -> VolumeType:
    return type_by_id(session, call.context, call.path["type_id"])


def _check_unused(session: Session, type_id: str, verb: str) -> None:
    if session.scalar(select(Volume.id).where(Volume.volume_type_id == type_id).limit(1)) is not None:
        raise BadRequest(f"Cannot {verb} encryption specs. Volume type in use.")


def _view(row: TypeEncryption | None) -> dict[str, Any]:
    """All of it; nothing where there is none."""
    if row is None:
        return {}
    return {
        "volume_type_id": row.type_id,
        "encryption_id": row.encryption_id,
        "provider": row.provider,
        "control_location": row.control_location,
        "cipher": row.cipher,
        "key_size": row.key_size,
        "created_at": written(row.created_us),
        "updated_at": written(row.updated_us),
        "deleted": False,
        "deleted_at": None,
    }


def show(call: Call) -> Answer:
    """GET."""
    call.enforce(f"{RULE}:get")
    with call.read() as session:
        return json_answer(_view(session.get(TypeEncryption, _type_of(call, session).id)))


def show_item(call: Call) -> Answer:
    """GET of one of its fields."""
    call.enforce(f"{RULE}:get")
    with call.read() as session:
        row = _type_of(call, session)
        view = _view(session.get(TypeEncryption, row.id))
    key = call.path["key"]
    if key not in view:
        raise _not_encrypted(row.id)
    return json_answer({key: view[key]})


def _not_encrypted(type_id: str) -> NotFound:
    return NotFound(f"Volume type encryption for type {type_id} does not exist.")


def create(call: Call) -> Answer:
    """POST: of a type that no volume has."""
    call.enforce(f"{RULE}:create")
    fields = _fields(call, _CREATE)
    with call.write() as session:
        type_id = _type_of(call, session).id
        _check_unused(session, type_id, "create")
        if session.get(TypeEncryption, type_id) is not None:
            raise BadRequest(f"Volume type encryption for type {type_id} already exists.")
        row = TypeEncryption(
            type_id=type_id,
            encryption_id=call.site.new_uuid(),
            created_us=call.site.now_us(),
            **fields,
        )
        session.add(row)
    ids = {"volume_type_id": type_id, "encryption_id": row.encryption_id}
    return json_answer({"encryption": fields | ids})


def update(call: Call) -> Answer:
    """PUT: of a type that no volume has."""
    call.enforce(f"{RULE}:update")
    fields = _fields(call, _UPDATE)
    with call.write() as session:
        type_id = _type_of(call, session).id
        _check_unused(session, type_id, "update")
        row = session.get(TypeEncryption, type_id)
        if row is None or row.encryption_id != call.path["key"]:
            raise _not_encrypted(type_id)
        for name, value in fields.items():
            setattr(row, name, value)
        row.updated_us = call.site.now_us()
    return json_answer({"encryption": fields})


def delete(call: Call) -> Answer:
    """DELETE: of a type that no volume has."""
    call.enforce(f"{RULE}:delete")
    with call.write() as session:
        type_id = _type_of(call, session).id
        _check_unused(session, type_id, "delete")
        row = session.get(TypeEncryption, type_id)
        if row is None or row.encryption_id != call.path["key"]:
            raise _not_encrypted(type_id)
        session.delete(row)
    return Answer(202)


_PATH = "/v3/types/{type_id}/encryption"
ROUTES: Final = [
    ("GET", _PATH, show),
    ("POST", _PATH, create),
    ("GET", f"{_PATH}/{{key}}", show_item),
    ("PUT", f"{_PATH}/{{key}}", update),
    ("DELETE", f"{_PATH}/{{key}}", delete),
]
