"""/v3/policies and OS-ENDPOINT-POLICY: policy documents kept for other services."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.api.catalog import ENDPOINTS
from compute.identity.call import Call
from compute.identity.errors import not_found
from compute.identity.models.catalog import Endpoint, Policy, PolicyAssociation, Region, Service
from compute.identity.resource import Resource, store
from compute.server.errors import NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import NAME, Schema, object_of

_BLOB = {"type": ["string", "object"]}
_FIELDS = {"blob": _BLOB, "type": {**NAME, "maxLength": 255}}


def _view(_session: Session, row: Policy) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "type": row.type, "blob": row.blob["blob"]}


def _change(_call: Call, _session: Session, row: Policy, fields: dict[str, Any]) -> None:
    if "blob" in fields:
        row.blob = {"blob": fields["blob"]}
    store(row, {k: v for k, v in fields.items() if k != "blob"}, ("type",))


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Policy:
    row = Policy(id=call.identity.new_id(), extra={})
    _change(call, session, row, fields)
    session.add(row)
    return row


POLICIES = Resource(
    noun="policy",
    plural="policies",
    model=Policy,
    create_schema=Schema(object_of(_FIELDS, ["blob", "type"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=_view,
    make=_make,
    change=_change,
    filters=("type",),
)

_WHAT: tuple[tuple[str, type[Any]], ...] = (
    ("endpoint", Endpoint),
    ("service", Service),
    ("region", Region),
)


def _named(call: Call, session: Session) -> dict[str, str]:
    """What the path ties a policy to. Raises NotFound."""
    if session.get(Policy, call.path["policy_id"]) is None:
        raise not_found("policy", call.path["policy_id"])
    found = {}
    for kind, table in _WHAT:
        if (ident := call.path.get(f"{kind}_id")) is not None:
            if session.get(table, ident) is None:
                raise not_found(kind, ident)
            found[f"{kind}_id"] = ident
    return found


def _rule(call: Call, verb: str) -> None:
    kinds = [kind for kind, _ in reversed(_WHAT) if f"{kind}_id" in call.path]
    call.enforce(f"{verb}_policy_association_for_{'_and_'.join(kinds)}")


def _association(session: Session, named: dict[str, str]) -> PolicyAssociation | None:
    query = select(PolicyAssociation).where(PolicyAssociation.target == _target(named))
    found: PolicyAssociation | None = session.scalars(query).first()
    return found


def _target(named: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(named.items()))


def put_association(call: Call) -> Answer:
    """PUT: in place of the one that was there."""
    _rule(call, "create")
    with call.write() as session:
        named = _named(call, session)
        row = _association(session, named)
        if row is None:
            row = PolicyAssociation(id=call.identity.new_id(), target=_target(named), **named)
            session.add(row)
        row.policy_id = call.path["policy_id"]
    return NO_CONTENT


def check_association(call: Call) -> Answer:
    """GET, HEAD: 204 or 404."""
    _rule(call, "check")
    with call.read() as session:
        row = _association(session, _named(call, session))
        if row is None or row.policy_id != call.path["policy_id"]:
            raise NotFound("Could not find policy association.")
    return NO_CONTENT


def delete_association(call: Call) -> Answer:
    """DELETE."""
    _rule(call, "delete")
    with call.write() as session:
        row = _association(session, _named(call, session))
        if row is None or row.policy_id != call.path["policy_id"]:
            raise NotFound("Could not find policy association.")
        session.delete(row)
    return NO_CONTENT


def policy_of_endpoint(call: Call) -> Answer:
    """The endpoint's own, else that of its service in its region or one above, else of its service."""
    call.enforce("get_policy_for_endpoint")
    with call.read() as session:
        endpoint = session.get(Endpoint, call.path["endpoint_id"])
        if endpoint is None:
            raise not_found("endpoint", call.path["endpoint_id"])
        for named in _candidates(session, endpoint):
            if (row := _association(session, named)) is not None:
                policy = session.get_one(Policy, row.policy_id)
                return json_answer({"policy": POLICIES.shown(call, session, policy)})
    raise NotFound("Could not find policy association.")


def _candidates(session: Session, endpoint: Endpoint) -> list[dict[str, str]]:
    found = [{"endpoint_id": endpoint.id}]
    region_id = endpoint.region_id
    while region_id is not None:
        found.append({"service_id": endpoint.service_id, "region_id": region_id})
        region = session.get(Region, region_id)
        region_id = region.parent_region_id if region else None
    return [*found, {"service_id": endpoint.service_id}]


def endpoints_of_policy(call: Call) -> Answer:
    """All endpoints that the policy is for."""
    call.enforce("list_endpoints_for_policy")
    policy_id = call.path["policy_id"]
    with call.read() as session:
        if session.get(Policy, policy_id) is None:
            raise not_found("policy", policy_id)
        found = []
        for endpoint in session.scalars(select(Endpoint).order_by(Endpoint.id)):
            rows = (_association(session, named) for named in _candidates(session, endpoint))
            first = next((row for row in rows if row is not None), None)
            if first is not None and first.policy_id == policy_id:
                found.append(ENDPOINTS.shown(call, session, endpoint))
        return call.listed("endpoints", found)


_ROOT = "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY"
_TIES = (
    "endpoints/{endpoint_id}",
    "services/{service_id}",
    "services/{service_id}/regions/{region_id}",
)
ROUTES = [
    *POLICIES.routes(),
    *(
        (method, f"{_ROOT}/{tie}", handler)
        for tie in _TIES
        for method, handler in (
            ("PUT", put_association),
            ("GET", check_association),
            ("DELETE", delete_association),
        )
    ),
    ("GET", f"{_ROOT}/endpoints", endpoints_of_policy),
    ("GET", "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy", policy_of_endpoint),
]
