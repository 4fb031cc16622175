"""/v3/auth: tokens and what a token's user may scope to."""

from typing import Any

from sqlalchemy import delete

from compute.identity import effective
from compute.identity.api.domains import DOMAINS
from compute.identity.api.projects import PROJECTS
from compute.identity.call import Call
from compute.identity.catalog_view import catalog
from compute.identity.instants import parse
from compute.identity.models.access import OAuthToken
from compute.identity.oauth1 import by_access_token
from compute.identity.tokens import revocations
from compute.identity.tokens.issue import authenticate
from compute.identity.tokens.methods import Proof
from compute.identity.tokens.payload import BadToken, unpacked
from compute.server.errors import Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer


def create_token(call: Call) -> Answer:
    """POST /v3/auth/tokens."""

    def oauth1(_identity: Any, _given: Any) -> Proof:
        return by_access_token(call.identity, call.request)

    issued = authenticate(call.identity, call.body("auth"), {"oauth1": oauth1})
    body = issued.body
    if "nocatalog" in call.request.query:
        body = {name: value for name, value in body.items() if name != "catalog"}
    return json_answer({"token": body}, 201, {"X-Subject-Token": issued.token})


def delete_token(call: Call) -> Answer:
    """DELETE /v3/auth/tokens: the subject's token is worth nothing from now on."""
    identity = call.identity
    try:
        payload = identity.keys.read(call.request.headers.get("X-Subject-Token", ""))
    except BadToken as error:
        raise NotFound("Could not find token.") from error
    call.enforce("revoke_token", token={"user_id": payload.user_id})
    now_us = identity.now_us()
    with call.write() as session:
        revocations.revoke(session, now_us, audit_id=payload.audit_ids[0])
        revocations.forget_old(session, now_us, identity.settings.token_s)
        if payload.access_token:
            session.execute(delete(OAuthToken).where(OAuthToken.id == unpacked(payload.access_token)))
    return NO_CONTENT


def show_catalog(call: Call) -> Answer:
    """GET /v3/auth/catalog."""
    payload = call.actor.payload
    if not payload.scope:
        raise Forbidden(
            "You are not authorized to perform the requested action: identity:get_auth_catalog."
        )
    call.enforce("get_auth_catalog")
    project_id = payload.scope_id if payload.scope == "project" else None
    with call.read() as session:
        rows = catalog(session, call.actor.user_id, project_id)
    return json_answer({"catalog": rows, "links": {"self": f"{call.v3}/auth/catalog"}})


def list_projects(call: Call) -> Answer:
    """GET /v3/auth/projects."""
    call.enforce("get_auth_projects")
    with call.read() as session:
        projects, _ = effective.reachable(session, call.actor.user_id)
        return call.listed("projects", [PROJECTS.shown(call, session, row) for row in projects])


def list_domains(call: Call) -> Answer:
    """GET /v3/auth/domains."""
    call.enforce("get_auth_domains")
    with call.read() as session:
        _, domains = effective.reachable(session, call.actor.user_id)
        return call.listed("domains", [DOMAINS.shown(call, session, row) for row in domains])


def list_system(call: Call) -> Answer:
    """GET /v3/auth/system."""
    call.enforce("get_auth_system")
    with call.read() as session:
        has = bool(effective.on_system(session, call.actor.user_id))
    links = {"self": f"{call.v3}/auth/system"}
    return json_answer({"system": [{"all": True}] if has else [], "links": links})


def list_revocations(call: Call) -> Answer:
    """GET /v3/OS-REVOKE/events?since=…"""
    call.enforce("list_revoke_events")
    since = call.query("since")
    with call.read() as session:
        rows = revocations.events(session, parse(since) if since else None)
        return call.listed("events", rows)


OPEN_ROUTES = [("POST", "/v3/auth/tokens", create_token)]
ROUTES = [
    ("DELETE", "/v3/auth/tokens", delete_token),
    ("GET", "/v3/auth/catalog", show_catalog),
    ("GET", "/v3/auth/projects", list_projects),
    ("GET", "/v3/auth/domains", list_domains),
    ("GET", "/v3/auth/system", list_system),
    ("GET", "/v3/OS-REVOKE/events", list_revocations),
]
