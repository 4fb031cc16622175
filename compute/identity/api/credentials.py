"""/v3/credentials, EC2 credentials of users, and the checks of signatures (s3tokens, ec2tokens)."""

import base64
import hashlib
import hmac
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.call import Call
from compute.identity.ec2 import ec2_signature, signature_fits
from compute.identity.errors import duplicate, not_found, unauthorized
from compute.identity.models.access import Credential
from compute.identity.models.people import User
from compute.identity.models.projects import Project
from compute.identity.resource import Resource, store
from compute.identity.tokens.issue import issue
from compute.identity.tokens.methods import Proof, blob_of
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import ID_OR_NULL, NAME, STRING, Schema, object_of

EC2 = "ec2"

_FIELDS = {"blob": STRING, "type": NAME, "project_id": ID_OR_NULL, "user_id": ID_OR_NULL}


def access_hash(access: str) -> str:
    """What EC2 credentials are found by, and their first id."""
    return hashlib.sha256(access.encode()).hexdigest()


def _view(call: Call, row: Credential) -> dict[str, Any]:
    return {
        **row.extra,
        "id": row.id,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "type": row.type,
        "blob": call.identity.sealer.open(row.blob).decode(),
    }


def _access_key(blob: str) -> str:
    try:
        parsed = msgspec.json.decode(blob)
    except msgspec.DecodeError as error:
        raise BadRequest("Invalid blob in credential") from error
    access = parsed.get("access") if isinstance(parsed, dict) else None
    if not isinstance(access, str) or not access:
        raise BadRequest("Invalid EC2 credential: the blob has no access key")
    return access


def _check_references(session: Session, fields: dict[str, Any]) -> None:
    if fields.get("user_id") and session.get(User, fields["user_id"]) is None:
        raise not_found("user", fields["user_id"])
    if fields.get("project_id") and session.get(Project, fields["project_id"]) is None:
        raise not_found("project", fields["project_id"])


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Credential:
    fields = {**fields, "user_id": fields.get("user_id") or call.actor.user_id}
    _check_references(session, fields)
    ident = call.identity.new_id()
    if fields["type"] == EC2:
        ident = access_hash(_access_key(fields["blob"]))
        if not fields.get("project_id"):
            raise BadRequest("Expecting to find project_id in credential.")
        _check_access_free(session, ident, "")
    row = Credential(id=ident, extra={}, project_id=None)
    row.access_hash = ident if fields["type"] == EC2 else None
    row.blob = call.identity.sealer.seal(fields["blob"].encode())
    store(row, {k: v for k, v in fields.items() if k != "blob"}, ("type", "user_id", "project_id"))
    session.add(row)
    return row


def _check_access_free(session: Session, wanted: str, own_id: str) -> None:
    """Raises Conflict where other credentials have this access key."""
    query = select(Credential.id).where(Credential.access_hash == wanted, Credential.id != own_id)
    with session.no_autoflush:
        if session.scalars(query).first() is not None:
            raise duplicate("credential", "Duplicate entry")


def by_access_key(session: Session, access: str) -> Credential | None:
    """The EC2 credentials with this access key."""
    query = select(Credential).where(Credential.access_hash == access_hash(access))
    return session.scalars(query).first()


def _change(call: Call, session: Session, row: Credential, fields: dict[str, Any]) -> None:
    _check_references(session, fields)
    wanted = {"user_id": row.user_id, "project_id": row.project_id, **fields}
    call.enforce("update_credential", credential=wanted)  # nor give it to someone else
    if "blob" in fields:
        if fields.get("type", row.type) == EC2:
            row.access_hash = access_hash(_access_key(fields["blob"]))
            _check_access_free(session, row.access_hash, row.id)
        row.blob = call.identity.sealer.seal(fields["blob"].encode())
    store(row, {k: v for k, v in fields.items() if k != "blob"}, ("type", "user_id", "project_id"))


class _Credentials(Resource[Credential]):
    """What it shows has to be decrypted, so it is done with the call."""

    def shown(self, call: Call, session: Session, row: Credential) -> dict[str, Any]:
        view = _view(call, row)
        return {**view, "links": {"self": f"{call.v3}/credentials/{row.id}"}}

    def list(self, call: Call) -> Answer:
        """Everyone's own; others' for those who may see them."""
        with call.read() as session:
            rows = session.scalars(self.filtered(call, select(Credential))).all()
            if not rows:
                call.enforce("list_credentials", credential={"user_id": call.actor.user_id})
            seen = [
                row
                for row in rows
                if call.allowed("get_credential", credential={"user_id": row.user_id})
            ]
            return call.listed("credentials", [self.shown(call, session, row) for row in seen])


CREDENTIALS = _Credentials(
    noun="credential",
    model=Credential,
    create_schema=Schema(object_of(_FIELDS, ["blob", "type"])),
    update_schema=Schema(object_of(_FIELDS, least=1)),
    view=lambda _session, row: {"id": row.id, "user_id": row.user_id, "project_id": row.project_id},
    make=_make,
    change=_change,
    target=lambda call, _session, fields: {
        **fields,
        "user_id": fields.get("user_id") or call.actor.user_id,
    },
    filters=("user_id", "type"),
)

# -- EC2 credentials of a user --

_EC2_SCHEMA = Schema(object_of({"tenant_id": STRING}, ["tenant_id"]))


def _ec2_view(call: Call, row: Credential) -> dict[str, Any]:
    blob = blob_of(call.identity, row)
    itself = f"{call.v3}/users/{row.user_id}/credentials/OS-EC2/{blob.get('access')}"
    return {
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": blob.get("access"),
        "secret": blob.get("secret"),
        "trust_id": blob.get("trust_id"),
        "links": {"self": itself},
    }


def create_ec2(call: Call) -> Answer:
    """POST: an access key and a secret, both made here, for one project."""
    body = call.request.json()
    _EC2_SCHEMA.check(body)
    user_id, identity = call.path["user_id"], call.identity
    call.enforce("ec2_create_credential", credential={"user_id": user_id})
    blob = {"access": identity.new_id(), "secret": identity.new_id(), "trust_id": None}
    if call.actor.payload.application_credential:
        raise Forbidden("EC2 credentials can't be made with an application credential.")
    blob["trust_id"] = call.actor.credentials["trust_id"]
    with call.write() as session:
        _check_references(session, {"user_id": user_id, "project_id": body["tenant_id"]})
        row = Credential(
            id=access_hash(str(blob["access"])),
            access_hash=access_hash(str(blob["access"])),
            user_id=user_id,
            project_id=body["tenant_id"],
            type=EC2,
            blob=identity.sealer.seal(msgspec.json.encode(blob)),
            extra={},
        )
        session.add(row)
    return json_answer({"credential": _ec2_view(call, row)}, 201)


def list_ec2(call: Call) -> Answer:
    """GET of all of one user."""
    user_id = call.path["user_id"]
    call.enforce("ec2_list_credentials", credential={"user_id": user_id})
    with call.read() as session:
        if session.get(User, user_id) is None:
            raise not_found("user", user_id)
        query = select(Credential).where(Credential.user_id == user_id, Credential.type == EC2)
        rows = session.scalars(query.order_by(Credential.id))
        return call.listed("credentials", [_ec2_view(call, row) for row in rows])


def _ec2_row(call: Call, session: Session, rule: str) -> Credential:
    row = by_access_key(session, call.path["credential_id"])
    call.enforce(rule, credential={"user_id": row.user_id if row else call.path["user_id"]})
    if row is None or row.user_id != call.path["user_id"]:
        raise not_found("credential", call.path["credential_id"])
    return row


def show_ec2(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        row = _ec2_row(call, session, "ec2_get_credential")
        return json_answer({"credential": _ec2_view(call, row)})


def delete_ec2(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        session.delete(_ec2_row(call, session, "ec2_delete_credential"))
    return NO_CONTENT


# -- signatures --


def _signed_by(call: Call, access: str) -> tuple[Credential, str]:
    """The credential of an access key, and its secret. Raises Unauthorized."""
    with call.read() as session:
        row = by_access_key(session, access)
    secret = blob_of(call.identity, row).get("secret") if row is not None else None
    if row is None or row.type != EC2 or not isinstance(secret, str):
        raise unauthorized("EC2 access key not found.")
    return row, secret


def _token_for(call: Call, row: Credential) -> Answer:
    scope = {"project": {"id": row.project_id}}
    issued = issue(call.identity, [Proof(row.user_id)], ["ec2credential"], scope)
    return json_answer({"token": issued.body}, 200, {"X-Subject-Token": issued.token})


def s3tokens(call: Call) -> Answer:
    """POST /v3/s3tokens: is this the signature of that string? Then who it is, as a token."""
    call.enforce("s3tokens_validate")
    fields = call.body("credentials")
    access, given = str(fields.get("access", "")), str(fields.get("signature", ""))
    row, secret = _signed_by(call, access)
    try:
        text = base64.urlsafe_b64decode(str(fields.get("token", "")))
    except ValueError as error:
        raise BadRequest("The string to sign is not base64.") from error
    if not signature_fits(secret, text, given):
        raise unauthorized("Credential signature mismatch")
    return _token_for(call, row)


def ec2tokens(call: Call) -> Answer:
    """POST /v3/ec2tokens: the request that was signed is told in its parts."""
    call.enforce("ec2tokens_validate")
    body = call.request.json()
    fields = body.get("credentials") or body.get("ec2Credentials")
    if not isinstance(fields, dict):
        raise BadRequest("'credentials' is a required property")
    row, secret = _signed_by(call, str(fields.get("access", "")))
    right = ec2_signature(secret, fields)
    if not hmac.compare_digest(right.encode(), str(fields.get("signature", "")).encode()):
        raise unauthorized("Invalid EC2 signature.")
    return _token_for(call, row)


_OF_USER = "/v3/users/{user_id}/credentials/OS-EC2"
ROUTES = [
    *CREDENTIALS.routes(),
    ("POST", _OF_USER, create_ec2),
    ("GET", _OF_USER, list_ec2),
    ("GET", f"{_OF_USER}/{{credential_id}}", show_ec2),
    ("DELETE", f"{_OF_USER}/{{credential_id}}", delete_ec2),
    ("POST", "/v3/s3tokens", s3tokens),
    ("POST", "/v3/ec2tokens", ec2tokens),
]
