"""/v3/qos-specs: what volumes may do, said once and associated with types."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, Conflict, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.kinds import no_such_type
from compute.volume.matching import is_true
from compute.volume.models.types import QosSpecs, VolumeType
from compute.volume.paging import next_links, page_of, rows_of

RULE: Final = "volume_extension:qos_specs_manage"
CONSUMERS: Final = ("front-end", "back-end", "both")
FILTERS: Final = ("id", "name", "consumer")

_CREATE = Schema(
    forms.within(
        "qos_specs",
        {"name": {"type": "string", "pattern": r"^\s*\S[\s\S]{0,254}\s*$"}},
        "name",
        more=True,
    )
)
_UPDATE = Schema(
    {
        "type": "object",
        "properties": {"qos_specs": forms.SPECS},
        "required": ["qos_specs"],
        "additionalProperties": False,
    }
)
_KEYS = Schema(
    {
        "type": "object",
        "properties": {
            "keys": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 255},
                "uniqueItems": True,
            }
        },
        "required": ["keys"],
        "additionalProperties": False,
    }
)


def _view(row: QosSpecs) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs}


def _shown(call: Call, row: QosSpecs) -> Answer:
    return json_answer({"qos_specs": _view(row), "links": call.links("qos-specs", row.id)})


def _found(session: Session, qos_id: str) -> QosSpecs:
    row = session.get(QosSpecs, qos_id)
    if row is None:
        raise NotFound(f"No such QoS spec {qos_id}.")
    return row


def _taken_apart(specs: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    """The consumer and the rest. Raises BadRequest."""
    rest = dict(specs)
    consumer = rest.pop("consumer", None)
    if consumer is not None and consumer not in CONSUMERS:
        raise BadRequest(f"Invalid qos specs: Valid consumer of QoS specs are: {list(CONSUMERS)}")
    for key, value in rest.items():
        if not 1 <= len(key) <= 255:
            raise BadRequest(f"Key '{key}' must have between 1 and 255 characters.")
        if not isinstance(value, str) or len(value) > 255:
            raise BadRequest(f"The value of '{key}' must be text of at most 255 characters.")
    return consumer, rest


def list_all(call: Call) -> Answer:
    """GET /v3/qos-specs."""
    call.enforce(f"{RULE}:get_all")
    page = page_of(call.request.query)
    query = select(QosSpecs)
    for name in FILTERS:
        if (wanted := call.query(name)) is not None:
            query = query.where(getattr(QosSpecs, name) == wanted)
    with call.read() as session:
        rows = rows_of(session, query, page, _COLUMNS, QosSpecs)
    links = next_links(call.request, rows)
    body: dict[str, Any] = {"qos_specs": [_view(row) for row in rows]}
    return json_answer(body | ({"qos_specs_links": links} if links else {}))


_COLUMNS: Final = {
    "id": QosSpecs.id,
    "name": QosSpecs.name,
    "consumer": QosSpecs.consumer,
    "created_at": QosSpecs.created_us,
}


def create(call: Call) -> Answer:
    """POST /v3/qos-specs."""
    call.enforce(f"{RULE}:create")
    fields = dict(call.body(_CREATE)["qos_specs"])
    name = fields.pop("name").strip()
    consumer, specs = _taken_apart(fields)
    with call.write() as session:
        if session.scalar(select(QosSpecs.id).where(QosSpecs.name == name)) is not None:
            raise Conflict(f"QoS Specs {name} already exists.")
        row = QosSpecs(
            id=call.site.new_uuid(),
            name=name,
            consumer=consumer or "back-end",
            specs=specs,
            created_us=call.site.now_us(),
        )
        session.add(row)
    return _shown(call, row)


def show(call: Call) -> Answer:
    """GET of one."""
    call.enforce(f"{RULE}:get")
    with call.read() as session:
        row = _found(session, call.path["qos_id"])
    return _shown(call, row)


def update(call: Call) -> Answer:
    """PUT: these, beside those that are there."""
    call.enforce(f"{RULE}:update")
    body = call.body(_UPDATE)
    with call.write() as session:
        row = _found(session, call.path["qos_id"])
        consumer, specs = _taken_apart(body["qos_specs"])
        row.consumer = consumer or row.consumer
        row.specs = {**row.specs, **specs}
        row.updated_us = call.site.now_us()
    return json_answer(body)


def delete_keys(call: Call) -> Answer:
    """PUT /v3/qos-specs/{qos_id}/delete_keys: all of them or none."""
    call.enforce(f"{RULE}:delete")
    keys = call.body(_KEYS)["keys"]
    with call.write() as session:
        row = _found(session, call.path["qos_id"])
        for key in keys:
            if key not in row.specs:
                raise NotFound(f"QoS spec {row.id} has no spec with key {key}.")
        row.specs = {key: value for key, value in row.specs.items() if key not in keys}
        row.updated_us = call.site.now_us()
    return Answer(202)


def delete(call: Call) -> Answer:
    """DELETE; `force` takes it from its types first."""
    call.enforce(f"{RULE}:delete")
    force = is_true(call.query("force") or "")
    with call.write() as session:
        row = _found(session, call.path["qos_id"])
        types = _types_of(session, row.id)
        if types and not force:
            raise BadRequest("Qos specs still in use.")
        for kind in types:
            kind.qos_specs_id = None
        session.flush()
        session.delete(row)
    return Answer(202)


# -- with types --


def _types_of(session: Session, qos_id: str) -> list[VolumeType]:
    query = select(VolumeType).where(VolumeType.qos_specs_id == qos_id).order_by(VolumeType.name)
    return list(session.scalars(query))


def associations(call: Call) -> Answer:
    """GET /v3/qos-specs/{qos_id}/associations."""
    call.enforce(f"{RULE}:get_all")
    with call.read() as session:
        types = _types_of(session, _found(session, call.path["qos_id"]).id)
    rows = [{"association_type": "volume_type", "name": kind.name, "id": kind.id} for kind in types]
    return json_answer({"qos_associations": rows})


def _asked_type(call: Call, session: Session) -> VolumeType:
    type_id = call.query("vol_type_id")
    if not type_id:
        raise BadRequest("Volume Type id must not be None.")
    row = session.get(VolumeType, type_id)
    if row is None:
        raise no_such_type(type_id)
    return row


def associate(call: Call) -> Answer:
    """GET /v3/qos-specs/{qos_id}/associate?vol_type_id=."""
    call.enforce(f"{RULE}:update")
    with call.write() as session:
        kind, row = _asked_type(call, session), _found(session, call.path["qos_id"])
        if kind.qos_specs_id not in (None, row.id):
            raise BadRequest(
                f"Invalid volume type: Type {kind.id} is already associated with another qos specs:"
                f" {kind.qos_specs_id}"
            )
        kind.qos_specs_id = row.id
    return Answer(202)


def disassociate(call: Call) -> Answer:
    """GET /v3/qos-specs/{qos_id}/disassociate?vol_type_id=."""
    call.enforce(f"{RULE}:update")
    with call.write() as session:
        kind, row = _asked_type(call, session), _found(session, call.path["qos_id"])
        if kind.qos_specs_id == row.id:
            kind.qos_specs_id = None
    return Answer(202)


def disassociate_all(call: Call) -> Answer:
    """GET /v3/qos-specs/{qos_id}/disassociate_all."""
    call.enforce(f"{RULE}:update")
    with call.write() as session:
        for kind in _types_of(session, _found(session, call.path["qos_id"]).id):
            kind.qos_specs_id = None
    return Answer(202)


_ONE = "/v3/qos-specs/{qos_id}"
ROUTES: Final = [
    ("GET", "/v3/qos-specs", list_all),
    ("POST", "/v3/qos-specs", create),
    ("GET", _ONE, show),
    ("PUT", _ONE, update),
    ("DELETE", _ONE, delete),
    ("PUT", f"{_ONE}/delete_keys", delete_keys),
    ("GET", f"{_ONE}/associations", associations),
    ("GET", f"{_ONE}/associate", associate),
    ("GET", f"{_ONE}/disassociate", disassociate),
    ("GET", f"{_ONE}/disassociate_all", disassociate_all),
]
