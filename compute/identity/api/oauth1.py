"""/v3/OS-OAUTH1: consumers, request tokens, what users authorize, access tokens."""

from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.call import Call
from compute.identity.errors import not_found, unauthorized
from compute.identity.instants import US, text_of
from compute.identity.models.access import Consumer, OAuthToken
from compute.identity.models.projects import Project
from compute.identity.models.roles import Role
from compute.identity.oauth1 import header_parameters, live_token, verified
from compute.identity.resource import Resource, store
from compute.identity.tokens.revocations import revoke
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import STRING, TEXT_OR_NULL, Schema, object_of

SECRET_BYTES = 24
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _view(_session: Session, row: Consumer) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "description": row.description}


def _make(call: Call, session: Session, fields: dict[str, Any]) -> Consumer:
    secret = call.identity.randomness.token(SECRET_BYTES).hex().encode()
    row = Consumer(id=call.identity.new_id(), extra={}, secret=call.identity.sealer.seal(secret))
    store(row, {"description": None, **fields}, ("description",))
    session.add(row)
    return row


def _remove(call: Call, session: Session, row: Consumer) -> None:
    for token in session.scalars(select(OAuthToken).where(OAuthToken.consumer_id == row.id)):
        revoke(session, call.identity.now_us(), access_token_id=token.id)
    session.delete(row)


class _Consumers(Resource[Consumer]):
    def create(self, call: Call) -> Answer:
        """The secret is shown this once."""
        fields = call.body("consumer", self.create_schema)
        call.enforce("create_consumer")
        with call.write() as session:
            row = self.make(call, session, fields)
            session.flush()
            body = self.shown(call, session, row)
        return json_answer(
            {"consumer": {**body, "secret": call.identity.sealer.open(row.secret).decode()}}, 201
        )


def _change(_call: Call, _session: Session, row: Consumer, fields: dict[str, Any]) -> None:
    if "secret" in fields:
        raise BadRequest("The secret of a consumer can't be changed.")
    store(row, fields, ("description",))


CONSUMERS = _Consumers(
    noun="consumer",
    path="OS-OAUTH1/consumers",
    said="Consumer",
    model=Consumer,
    create_schema=Schema(object_of({"description": TEXT_OR_NULL})),
    update_schema=Schema(object_of({"description": TEXT_OR_NULL}, least=1)),
    view=_view,
    make=_make,
    change=_change,
    remove=_remove,
)


def _form(token: OAuthToken, secret: str, us: int | None) -> Answer:
    fields = {"oauth_token": token.id, "oauth_token_secret": secret}
    if us is not None:
        fields["oauth_expires_at"] = text_of(us) or ""
    return Answer(201, urlencode(fields).encode(), _FORM)


def _new_token(call: Call, **fields: Any) -> tuple[OAuthToken, str]:
    secret = call.identity.randomness.token(SECRET_BYTES).hex()
    sealed = call.identity.sealer.seal(secret.encode())
    return OAuthToken(id=call.identity.new_id(), secret=sealed, **fields), secret


def create_request_token(call: Call) -> Answer:
    """POST: signed by a consumer, for the project in Requested-Project-Id."""
    project_id = call.request.headers.get("Requested-Project-Id")
    if not project_id:
        raise BadRequest("Expecting to find requested_project_id in request header.")
    given = verified(call.identity, call.request)
    expires_us = call.identity.now_us() + call.identity.settings.request_token_s * US
    with call.write(changes=False) as session:
        if session.get(Project, project_id) is None:
            raise not_found("project", project_id)
        token, secret = _new_token(
            call,
            is_access=False,
            consumer_id=given["oauth_consumer_key"],
            project_id=project_id,
            expires_at_us=expires_us,
            role_ids=[],
        )
        session.add(token)
    return _form(token, secret, expires_us)


_AUTHORIZE = Schema(
    object_of(
        {
            "roles": {
                "type": "array",
                "minItems": 1,
                "items": object_of({"id": STRING, "name": STRING}, least=1),
            }
        },
        ["roles"],
    )
)


def authorize(call: Call) -> Answer:
    """PUT: the user lets the consumer act with some roles on the token's project."""
    call.enforce("authorize_request_token")
    body = call.request.json()
    _AUTHORIZE.check(body)
    if call.actor.payload.access_token or call.actor.payload.trust or not call.actor.delegates:
        raise Forbidden("Cannot authorize a request token with a token issued via delegation.")
    identity = call.identity
    with call.write() as session:
        token = live_token(session, call.path["request_token_id"], identity.now_us(), is_access=False)
        if token is None:
            raise not_found("Request Token", call.path["request_token_id"])
        project = session.get_one(Project, token.project_id)
        owned = effective.on_project(session, call.actor.user_id, project)
        chosen = []
        for named in body["roles"]:
            found = [
                role.id
                for role in owned
                if named.get("id", role.id) == role.id and named.get("name", role.name) == role.name
            ]
            if not found:
                raise unauthorized("authorizing user does not have role required")
            chosen += found
        token.role_ids = chosen
        token.user_id = call.actor.user_id
        token.verifier = identity.randomness.token(8).hex()
        return json_answer({"token": {"oauth_verifier": token.verifier}})


def create_access_token(call: Call) -> Answer:
    """POST: signed with the authorized request token, which is used up by it."""
    identity = call.identity
    given = header_parameters(call.request.headers.get("Authorization", ""))
    ident = given.get("oauth_token", "")
    with call.read() as session:
        wanted = live_token(session, ident, identity.now_us(), is_access=False)
    if wanted is None or wanted.verifier is None or given.get("oauth_verifier") != wanted.verifier:
        raise unauthorized()
    if wanted.consumer_id != given.get("oauth_consumer_key"):
        raise unauthorized()
    verified(identity, call.request, identity.sealer.open(wanted.secret).decode())
    expires_us = identity.now_us() + identity.settings.access_token_s * US
    with call.write(changes=False) as session:
        used = session.get(OAuthToken, ident)
        if used is None:
            raise unauthorized()
        token, secret = _new_token(
            call,
            is_access=True,
            consumer_id=used.consumer_id,
            project_id=used.project_id,
            user_id=used.user_id,
            role_ids=used.role_ids,
            expires_at_us=expires_us,
        )
        session.delete(used)
        session.add(token)
    return _form(token, secret, expires_us)


def _token_view(call: Call, row: OAuthToken) -> dict[str, Any]:
    itself = f"{call.v3}/users/{row.user_id}/OS-OAUTH1/access_tokens/{row.id}"
    return {
        "id": row.id,
        "consumer_id": row.consumer_id,
        "project_id": row.project_id,
        "authorizing_user_id": row.user_id,
        "expires_at": text_of(row.expires_at_us),
        "links": {"self": itself, "roles": f"{itself}/roles"},
    }


def _row(call: Call, session: Session) -> OAuthToken:
    row = live_token(session, call.path["access_token_id"], call.identity.now_us(), is_access=True)
    if row is None or row.user_id != call.path["user_id"]:
        raise not_found("Access Token", call.path["access_token_id"])
    return row


def list_tokens(call: Call) -> Answer:
    """GET of the access tokens that a user has authorized."""
    call.enforce("list_access_tokens")
    query = select(OAuthToken).where(OAuthToken.is_access, OAuthToken.user_id == call.path["user_id"])
    with call.read() as session:
        return call.listed("access_tokens", [_token_view(call, row) for row in session.scalars(query)])


def show_token(call: Call) -> Answer:
    """GET of one."""
    call.enforce("get_access_token")
    with call.read() as session:
        return json_answer({"access_token": _token_view(call, _row(call, session))})


def delete_token(call: Call) -> Answer:
    """DELETE: tokens made with it are worth nothing at once."""
    call.enforce("delete_access_token")
    with call.write() as session:
        row = _row(call, session)
        revoke(session, call.identity.now_us(), access_token_id=row.id)
        session.delete(row)
    return NO_CONTENT


def _role_views(call: Call, session: Session) -> list[dict[str, Any]]:
    ids = _row(call, session).role_ids
    roles = session.scalars(select(Role).where(Role.id.in_(ids)).order_by(Role.id))
    return [{"id": role.id, "name": role.name, "domain_id": role.domain_id} for role in roles]


def list_roles(call: Call) -> Answer:
    """GET of its roles."""
    call.enforce("list_access_token_roles")
    with call.read() as session:
        return call.listed("roles", _role_views(call, session))


def show_role(call: Call) -> Answer:
    """GET of one of its roles."""
    call.enforce("get_access_token_role")
    with call.read() as session:
        for view in _role_views(call, session):
            if view["id"] == call.path["role_id"]:
                return json_answer({"role": view})
    raise NotFound(f"Could not find role: {call.path['role_id']}.")


_ROOT = "/v3/OS-OAUTH1"
_TOKENS = "/v3/users/{user_id}/OS-OAUTH1/access_tokens"
_ONE = f"{_TOKENS}/{{access_token_id}}"
OPEN_ROUTES = [
    ("POST", f"{_ROOT}/request_token", create_request_token),
    ("POST", f"{_ROOT}/access_token", create_access_token),
]
ROUTES = [
    *CONSUMERS.routes(),
    ("PUT", f"{_ROOT}/authorize/{{request_token_id}}", authorize),
    ("GET", _TOKENS, list_tokens),
    ("GET", _ONE, show_token),
    ("DELETE", _ONE, delete_token),
    ("GET", f"{_ONE}/roles", list_roles),
    ("GET", f"{_ONE}/roles/{{role_id}}", show_role),
]
