"""What a token is worth now: its user, its scope, its roles, looked up in the database.

Issuing and validating do the same here, so what is issued is what will be validated.
"""

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity import effective
from compute.identity.catalog_view import catalog
from compute.identity.effective import RoleRef
from compute.identity.instants import text_of
from compute.identity.models.access import (
    AccessRule,
    ApplicationCredential,
    ApplicationCredentialRole,
    ApplicationCredentialRule,
    OAuthToken,
    Trust,
    TrustRole,
)
from compute.identity.models.people import Password, User
from compute.identity.models.projects import Project
from compute.identity.tokens.payload import Payload, unpacked
from compute.identity.tokens.revocations import is_revoked


class Refused(Exception):
    """The token is worth nothing (any more). The text says why, for those who may know."""


class Standing(NamedTuple):
    """A token's worth. project: the project or domain of its scope, None without one."""

    payload: Payload
    user: User
    user_domain: Project
    project: Project | None
    project_domain: Project | None
    roles: list[RoleRef]
    trust: Trust | None
    application_credential: ApplicationCredential | None

    def credentials(self) -> dict[str, Any]:
        """What policy rules see of the caller."""
        scope = self.payload.scope
        project = self.project if scope == "project" else None
        domain = self.project if scope == "domain" else None
        token: dict[str, Any] = {}
        trust = self.trust
        if domain is not None:
            token = {"domain": {"id": domain.id}}
        elif project is not None:
            owner = self.project_domain.id if self.project_domain else None
            token = {"project": {"id": project.id, "domain": {"id": owner}}}
        return {
            "user_id": self.user.id,
            "user_domain_id": self.user.domain_id,
            "project_id": project.id if project else None,
            "project_domain_id": project.domain_id if project else None,
            "domain_id": domain.id if domain else None,
            "system_scope": "all" if scope == "system" else None,
            "roles": [role.name for role in self.roles],
            "is_admin": False,
            "is_admin_project": True,
            "trust_id": trust.id if trust else None,
            "trustor_id": trust.trustor_id if trust else None,
            "trustee_id": trust.trustee_id if trust else None,
            "token": token,
        }


def stand(session: Session, payload: Payload, now_us: int) -> Standing:
    """What the token is worth. Raises Refused."""
    if payload.expires_at_us <= now_us:
        raise Refused("it has expired")
    user = session.get(User, payload.user_id)
    user_domain = session.get(Project, user.domain_id) if user else None
    if user is None or user_domain is None:
        raise Refused("its user is gone")
    if not user.enabled or not user_domain.enabled:
        raise Refused("its user is disabled")
    project, project_domain = _scope(session, payload)
    owner = project.domain_id or project.id if project else ""
    if is_revoked(session, payload, user.domain_id, owner):
        raise Refused("it was revoked")
    trust = _trust(session, payload, now_us)
    app = _application_credential(session, payload, now_us)
    roles = _roles(session, payload, project, trust, app)
    if payload.scope and not roles:
        raise Refused(f"User {user.id} has no access to {payload.scope} {payload.scope_id}")
    return Standing(payload, user, user_domain, project, project_domain, roles, trust, app)


def _scope(session: Session, payload: Payload) -> tuple[Project | None, Project | None]:
    """The scope's project (or domain) and the project's domain."""
    if payload.scope not in ("project", "domain"):
        return None, None
    project = session.get(Project, payload.scope_id)
    if project is None or (payload.scope == "domain" and not project.is_domain):
        raise Refused(f"its {payload.scope} is gone")
    domain = session.get(Project, project.domain_id) if project.domain_id else None
    if not project.enabled or (domain is not None and not domain.enabled):
        raise Refused(f"its {payload.scope} is disabled")
    return project, domain


def _trust(session: Session, payload: Payload, now_us: int) -> Trust | None:
    if not payload.trust:
        return None
    trust = session.get(Trust, unpacked(payload.trust))
    if trust is None or (trust.expires_at_us is not None and trust.expires_at_us <= now_us):
        raise Refused("its trust is gone")
    for ident in (trust.trustor_id, trust.trustee_id):
        user = session.get(User, ident)
        domain = session.get(Project, user.domain_id) if user else None
        if user is None or domain is None or not user.enabled or not domain.enabled:
            raise Refused("a user of its trust is disabled")
    return trust


def _application_credential(
    session: Session, payload: Payload, now_us: int
) -> ApplicationCredential | None:
    if not payload.application_credential:
        return None
    app = session.get(ApplicationCredential, unpacked(payload.application_credential))
    if app is None or (app.expires_at_us is not None and app.expires_at_us <= now_us):
        raise Refused("its application credential is gone")
    return app


def _roles(
    session: Session,
    payload: Payload,
    project: Project | None,
    trust: Trust | None,
    app: ApplicationCredential | None,
) -> list[RoleRef]:
    if payload.scope == "system":
        return effective.on_system(session, payload.user_id)
    if project is None:
        return []
    if trust is not None:
        given = session.scalars(select(TrustRole.role_id).where(TrustRole.trust_id == trust.id)).all()
        owned = effective.on_project(session, trust.trustor_id, project)
        if not set(given) <= {role.id for role in owned}:
            raise Refused("the trustor has lost a role of the trust")
        return _limited(session, owned, given)
    owned = effective.on_project(session, payload.user_id, project)
    if app is not None:
        table = ApplicationCredentialRole
        query = select(table.role_id).where(table.application_credential_id == app.id)
        return _limited(session, owned, session.scalars(query).all())
    if payload.access_token:
        access = session.get(OAuthToken, unpacked(payload.access_token))
        if access is None:
            raise Refused("its access token is gone")
        return _limited(session, owned, access.role_ids)
    return owned


def _limited(session: Session, owned: list[RoleRef], given: Any) -> list[RoleRef]:
    """Of the roles that someone has, those that were passed on, with what these imply."""
    passed_on = effective.implied_by(given, effective.implication_rules(session))
    return [role for role in owned if role.id in passed_on]


# -- the body ----------------------------------------------------------------------------------------


def _named(row: Project) -> dict[str, Any]:
    return {"id": row.id, "name": row.name}


def body_of(session: Session, standing: Standing) -> dict[str, Any]:
    """The token as the API shows it, with its catalog where it has a scope."""
    payload, user = standing.payload, standing.user
    newest = select(Password.expires_at_us).where(Password.user_id == user.id)
    expires_us = session.scalars(newest.order_by(Password.number.desc()).limit(1)).first()
    body: dict[str, Any] = {
        "methods": payload.methods,
        "user": {
            "domain": _named(standing.user_domain),
            "id": user.id,
            "name": user.name,
            "password_expires_at": text_of(expires_us),
        },
        "audit_ids": payload.audit_ids,
        "expires_at": text_of(payload.expires_at_us),
        "issued_at": text_of(payload.issued_at_us),
    }
    body |= _scope_view(standing)
    if payload.scope:
        body["roles"] = [{"id": role.id, "name": role.name} for role in standing.roles]
        project_id = payload.scope_id if payload.scope == "project" else None
        body["catalog"] = catalog(session, user.id, project_id)
    return body | _delegation_view(session, standing)


def _scope_view(standing: Standing) -> dict[str, Any]:
    project, domain = standing.project, standing.project_domain
    if standing.payload.scope == "system":
        return {"system": {"all": True}}
    if project is None:
        return {}
    if standing.payload.scope == "domain":
        return {"domain": _named(project)}
    owner = _named(domain) if domain else {"id": None, "name": None}
    return {"project": {"domain": owner, **_named(project)}, "is_domain": project.is_domain}


def _delegation_view(session: Session, standing: Standing) -> dict[str, Any]:
    view: dict[str, Any] = {}
    if (trust := standing.trust) is not None:
        view["OS-TRUST:trust"] = {
            "id": trust.id,
            "impersonation": trust.impersonation,
            "trustor_user": {"id": trust.trustor_id},
            "trustee_user": {"id": trust.trustee_id},
        }
    if (app := standing.application_credential) is not None:
        view["application_credential"] = {
            "id": app.id,
            "name": app.name,
            "restricted": not app.unrestricted,
        }
        if rules := access_rules(session, app.id):
            view["application_credential"]["access_rules"] = rules
    if standing.payload.access_token:
        token = session.get(OAuthToken, unpacked(standing.payload.access_token))
        consumer = token.consumer_id if token else None
        view["OS-OAUTH1"] = {
            "access_token_id": unpacked(standing.payload.access_token),
            "consumer_id": consumer,
        }
    return view


def access_rules(session: Session, application_credential_id: str) -> list[dict[str, Any]]:
    """The access rules of an application credential."""
    table = ApplicationCredentialRule
    rows = session.scalars(
        select(AccessRule)
        .join(table, table.access_rule_id == AccessRule.id)
        .where(table.application_credential_id == application_credential_id)
        .order_by(AccessRule.id)
    )
    return [
        {"id": row.id, "service": row.service, "method": row.method, "path": row.path} for row in rows
    ]
