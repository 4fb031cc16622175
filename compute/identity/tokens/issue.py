"""POST /v3/auth/tokens: proofs of identity and a wanted scope for a token."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy.orm import Session

from compute.identity.call import Identity
from compute.identity.errors import MALFORMED, not_allowed, not_found, unauthorized
from compute.identity.instants import US
from compute.identity.models.access import Trust
from compute.identity.models.people import User
from compute.identity.people import domain_named, expecting, project_named
from compute.identity.tokens.methods import (
    Proof,
    by_application_credential,
    by_password,
    by_token,
    by_totp,
)
from compute.identity.tokens.payload import VERSION, Payload, packed
from compute.identity.tokens.standing import Refused, Standing, body_of, stand
from compute.server.errors import BadRequest, Forbidden, Unauthorized
from compute.server.schema import Schema, object_of

AUDIT_BYTES: Final = 16

_NAMED: Final = {"type": "object"}
AUTH_SCHEMA: Final = Schema(
    object_of(
        {
            "identity": object_of(
                {
                    "methods": {"type": "array", "items": {"type": "string"}},
                    "password": object_of({"user": _NAMED}),
                    "token": object_of({"id": {"type": "string"}}, ["id"]),
                    "totp": object_of({"user": _NAMED}),
                    "application_credential": object_of({"secret": {"type": "string"}}, ["secret"]),
                },
                ["methods"],
            ),
            "scope": {
                "anyOf": [
                    {"type": "string", "enum": ["unscoped"]},
                    object_of(
                        {
                            "project": _NAMED,
                            "domain": _NAMED,
                            "OS-TRUST:trust": object_of({"id": {"type": "string"}}, ["id"]),
                            "system": object_of({"all": {"type": "boolean"}}),
                            "unscoped": _NAMED,
                        }
                    ),
                ]
            },
        },
        ["identity"],
    )
)

Method = Callable[[Identity, Mapping[str, Any]], Proof]
METHODS: Final[dict[str, Method]] = {
    "password": by_password,
    "token": by_token,
    "totp": by_totp,
    "application_credential": by_application_credential,
}


class Scope(NamedTuple):
    """What a token is for. kind: "", project, domain, system. trust: "" or its id."""

    kind: str = ""
    ident: str = ""
    trust: str = ""
    user_id: str = ""


class Issued(NamedTuple):
    """A new token and its body."""

    token: str
    body: dict[str, Any]


def authenticate(
    identity: Identity, auth: Mapping[str, Any], more: Mapping[str, Method] | None = None
) -> Issued:
    """A token for who proves to be someone. more: methods beside METHODS, bound to their request."""
    AUTH_SCHEMA.check(auth)
    given = auth["identity"]
    methods = list(dict.fromkeys(given["methods"]))
    if not methods:
        raise expecting("methods", "identity")
    proofs = [_prove(identity, name, given, more or {}) for name in methods]
    if len({proof.user_id for proof in proofs}) != 1:
        raise unauthorized()
    return issue(identity, proofs, methods, auth.get("scope"))


def _prove(
    identity: Identity, name: str, given: Mapping[str, Any], more: Mapping[str, Method]
) -> Proof:
    method = METHODS.get(name) or more.get(name)
    if method is None:
        raise unauthorized("Attempted to authenticate with an unsupported method.")
    if name in METHODS and not isinstance(given.get(name), dict):
        raise expecting(name, "identity")
    return method(identity, given.get(name) or {})


def issue(
    identity: Identity, proofs: list[Proof], methods: list[str], wanted: Any, *, now_us: int = 0
) -> Issued:
    """A token for proved identity. Raises Unauthorized, Forbidden, BadRequest."""
    now_us = now_us or identity.now_us()
    with identity.database.read() as session:
        user = session.get(User, proofs[0].user_id)
        if user is None:
            raise unauthorized()
        _check_factors(user, methods)
        scope = _scope(session, proofs, wanted, user)
        payload = _payload(identity, proofs, methods, scope, now_us)
        try:
            standing = stand(session, payload, now_us)
        except Refused as error:
            if scope.kind and wanted is None and not _bound(proofs):
                # the default project can't be used: as upstream does, a token without a scope
                payload = _payload(identity, proofs, methods, Scope(user_id=user.id), now_us)
                standing = _standing(session, payload, now_us)
            elif scope.trust:
                raise Forbidden(
                    f"You are not authorized to perform the requested action: {error}."
                ) from error
            else:
                raise unauthorized(_reason(str(error), scope)) from error
        body = body_of(session, standing)
    if scope.trust:
        _use_trust(identity, scope.trust)
    return Issued(identity.keys.write(payload), body)


def _reason(text: str, scope: Scope) -> str:
    return text if text.startswith("User ") and scope.kind else unauthorized().message


def _standing(session: Session, payload: Payload, now_us: int) -> Standing:
    try:
        return stand(session, payload, now_us)
    except Refused as error:
        raise unauthorized() from error


def _bound(proofs: list[Proof]) -> bool:
    """Whether what was proved is for one project only."""
    return any(proof.application_credential or proof.access_token for proof in proofs)


def _check_factors(user: User, methods: list[str]) -> None:
    """Users with rules for several factors must have met one of them. Raises Unauthorized."""
    if not user.options.get("multi_factor_auth_enabled"):
        return
    rules = user.options.get("multi_factor_auth_rules") or []
    used = {name for name in methods if name != "token"}
    if rules and used and not any(set(rule) <= set(methods) for rule in rules):
        raise Unauthorized(
            f"Insufficient auth methods received for {user.id}. Auth Methods Provided: {methods}."
        )


def _scope(session: Session, proofs: list[Proof], wanted: Any, user: User) -> Scope:
    earlier = next((proof.earlier for proof in proofs if proof.earlier), None)
    project_id = next((proof.project_id for proof in proofs if _bound([proof])), "")
    if earlier is not None and earlier.trust:
        raise not_allowed(
            "Using trust-scoped token to create another token. Create a new trust-scoped token instead"
        )
    if earlier is not None and earlier.access_token:
        raise not_allowed(
            "Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead"
        )
    if wanted == "unscoped":
        wanted = {"unscoped": {}}
    if isinstance(wanted, Mapping) and len(wanted) != 1:
        raise BadRequest(
            f"Scope must have exactly one of project, domain, system or OS-TRUST:trust. {MALFORMED}"
        )
    if project_id:
        return _bound_scope(session, project_id, wanted, user)
    if wanted is None:
        return _default_scope(earlier, user)
    (kind, what), *_ = wanted.items()
    return _wanted_scope(session, kind, what, user)


def _bound_scope(session: Session, project_id: str, wanted: Any, user: User) -> Scope:
    """An application credential is for its project, whatever is asked."""
    if wanted is not None:
        project = project_named(session, wanted.get("project") or {"id": "-"})
        if project is None or project.id != project_id:
            raise unauthorized(
                "Error authenticating with application credential: Application credentials cannot"
                " request a scope."
            )
    return Scope("project", project_id, user_id=user.id)


def _default_scope(earlier: Payload | None, user: User) -> Scope:
    if earlier is not None and earlier.scope:
        return Scope(earlier.scope, earlier.scope_id, user_id=user.id)
    if earlier is None and user.default_project_id:
        return Scope("project", user.default_project_id, user_id=user.id)
    return Scope(user_id=user.id)


def _wanted_scope(session: Session, kind: str, what: Any, user: User) -> Scope:
    if kind == "unscoped":
        return Scope(user_id=user.id)
    if kind == "system":
        if not what.get("all"):
            raise expecting("all", "system")
        return Scope("system", "all", user_id=user.id)
    if kind == "OS-TRUST:trust":
        return _trust_scope(session, what["id"], user)
    find = {"project": project_named, "domain": domain_named}.get(kind)
    if find is None:
        raise expecting("project, domain, system or OS-TRUST:trust", "scope")
    found = find(session, what)
    if found is None:
        raise unauthorized()
    # a domain's own project is scoped to as a project, too
    return Scope(kind, found.id, user_id=user.id)


def _trust_scope(session: Session, trust_id: str, user: User) -> Scope:
    trust = session.get(Trust, trust_id)
    if trust is None:
        raise not_found("trust", trust_id)
    if trust.trustee_id != user.id:
        raise Forbidden("User is not a trustee.")
    if trust.remaining_uses is not None and trust.remaining_uses < 1:
        raise not_found("trust", trust_id)
    acting = trust.trustor_id if trust.impersonation else trust.trustee_id
    return Scope("project", trust.project_id or "", trust.id, acting)


def _use_trust(identity: Identity, trust_id: str) -> None:
    """Take one of the trust's uses; two processes can't take the same one. Raises NotFound."""
    with identity.database.write("identity", changes=False) as session:
        trust = session.get(Trust, trust_id)
        if trust is None or trust.remaining_uses is None:
            return
        if trust.remaining_uses < 1:
            raise not_found("trust", trust_id)
        trust.remaining_uses -= 1


def _payload(
    identity: Identity, proofs: list[Proof], methods: list[str], scope: Scope, now_us: int
) -> Payload:
    """A token made of another one lives no longer, and belongs to its chain."""
    earlier = next((proof.earlier for proof in proofs if proof.earlier), None)
    audit = [identity.randomness.token(AUDIT_BYTES)]
    expires_at_us = now_us + identity.settings.token_s * US
    if earlier is not None:
        audit.append(earlier.audit[-1])
        expires_at_us = earlier.expires_at_us
        methods = list(dict.fromkeys([*methods, *earlier.methods]))
    return Payload(
        version=VERSION,
        user=packed(scope.user_id),
        methods=methods,
        scope=scope.kind,
        scope_of=packed(scope.ident),
        issued_at_us=now_us,
        expires_at_us=expires_at_us,
        audit=audit,
        trust=packed(scope.trust),
        application_credential=packed(next((p.application_credential for p in proofs), "")),
        access_token=packed(next((p.access_token for p in proofs), "")),
    )


__all__ = ["METHODS", "Issued", "authenticate", "issue"]
