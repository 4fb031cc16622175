"""The first domain, project, roles, administrator and catalog: made where missing, kept where not."""

import itertools
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.assignments import Grant, assign
from compute.identity.call import Identity
from compute.identity.models.catalog import Endpoint, Region, Service
from compute.identity.models.people import User
from compute.identity.models.projects import Project
from compute.identity.models.roles import Implication, Role
from compute.identity.passwords import hashed
from compute.identity.users import set_password

DEFAULT_DOMAIN: Final = "default"
ADMIN: Final = "admin"
CHAIN: Final = ("admin", "manager", "member", "reader")
"""Each implies the next one."""
ROLES: Final = (*CHAIN, "service", "ResellerAdmin")
SERVICE_USER: Final = "atoll"
"""The store asks identity about tokens and keys as this user, of the project `service`."""
SERVICE_PROJECT: Final = "service"
"""Its account at the object store holds what the add-on keeps there."""
INTERFACES: Final = ("public", "internal", "admin")


class ServiceEntry(NamedTuple):
    """A service of the catalog. url: with $(project_id)s where it needs the project."""

    type: str
    name: str
    url: str


class Passwords(NamedTuple):
    """What was set now; None for what was there already."""

    admin: str | None
    service: str | None


def bootstrap(
    identity: Identity, services: list[ServiceEntry], passwords: Mapping[str, str]
) -> Passwords:
    """Make what is missing. passwords: for `admin` and `atoll`, used where the user is new.

    The endpoints of `services` are set to their URLs; endpoints of others are left alone.
    """
    now_us = identity.now_us()
    identity.keys.rotate(identity.randomness, now_us, only_first=True)
    with identity.database.read() as session:
        known = select(User.name).where(User.domain_id == DEFAULT_DOMAIN)
        there = set(session.scalars(known))
    hashes = {name: hashed(word) for name, word in passwords.items() if name not in there}
    made: dict[str, str] = {}
    with identity.database.write("identity") as session:
        _domain(session)
        roles = {name: _role(session, identity, name) for name in ROLES}
        for prior, implied in itertools.pairwise(CHAIN):
            if session.get(Implication, (roles[prior], roles[implied])) is None:
                session.add(Implication(prior_id=roles[prior], implied_id=roles[implied]))
        for user_name, project_name, own in (
            (ADMIN, ADMIN, ("admin",)),
            (SERVICE_USER, SERVICE_PROJECT, ("service", "member")),
        ):
            project_id = _project(session, identity, project_name)
            user, is_new = _user(session, identity, user_name)
            if is_new and user_name in hashes:
                set_password(session, user, hashes[user_name], identity, by_user=True, first=True)
                made[user_name] = passwords[user_name]
            session.flush()
            for role in own:
                assign(session, Grant(user.id, None, project_id), roles[role])
            if user_name == ADMIN:
                assign(session, Grant(user.id, None, None), roles["admin"])
                assign(session, Grant(user.id, None, DEFAULT_DOMAIN), roles["admin"])
        _catalog(session, identity, services)
    return Passwords(made.get(ADMIN), made.get(SERVICE_USER))


def _domain(session: Session) -> None:
    if session.get(Project, DEFAULT_DOMAIN) is None:
        session.add(
            Project(
                id=DEFAULT_DOMAIN,
                name="Default",
                name_space="",
                is_domain=True,
                description="The default domain",
                enabled=True,
                options={},
                extra={},
            )
        )
        session.flush()


def _role(session: Session, identity: Identity, name: str) -> str:
    query = select(Role.id).where(Role.name == name, Role.name_space == "")
    if (found := session.scalars(query).first()) is not None:
        return found
    row = Role(id=identity.new_id(), name=name, name_space="", options={}, extra={})
    session.add(row)
    session.flush()
    return row.id


def _project(session: Session, identity: Identity, name: str) -> str:
    query = select(Project.id).where(Project.name == name, Project.name_space == DEFAULT_DOMAIN)
    if (found := session.scalars(query).first()) is not None:
        return found
    row = Project(
        id=identity.new_id(),
        name=name,
        name_space=DEFAULT_DOMAIN,
        is_domain=False,
        domain_id=DEFAULT_DOMAIN,
        parent_id=DEFAULT_DOMAIN,
        enabled=True,
        options={},
        extra={},
    )
    session.add(row)
    session.flush()
    return row.id


def _user(session: Session, identity: Identity, name: str) -> tuple[User, bool]:
    query = select(User).where(User.name == name, User.domain_id == DEFAULT_DOMAIN)
    if (found := session.scalars(query).first()) is not None:
        return found, False
    row = User(
        id=identity.new_id(),
        name=name,
        domain_id=DEFAULT_DOMAIN,
        enabled=True,
        options={},
        extra={},
        failures=0,
        failed_at_us=0,
    )
    session.add(row)
    session.flush()
    return row, True


def _catalog(session: Session, identity: Identity, services: list[ServiceEntry]) -> None:
    region = identity.settings.region
    if session.get(Region, region) is None:
        session.add(Region(id=region, description="", extra={}))
        session.flush()
    for entry in services:
        service_id = _service(session, identity, entry)
        for interface in INTERFACES:
            _endpoint(session, identity, service_id, interface, entry.url)


def _service(session: Session, identity: Identity, entry: ServiceEntry) -> str:
    for row in session.scalars(select(Service).where(Service.type == entry.type)):
        if row.extra.get("name") == entry.name:
            return row.id
    row = Service(id=identity.new_id(), type=entry.type, enabled=True, extra={"name": entry.name})
    session.add(row)
    session.flush()
    return row.id


def _endpoint(session: Session, identity: Identity, service_id: str, interface: str, url: str) -> None:
    region = identity.settings.region
    query = select(Endpoint).where(
        Endpoint.service_id == service_id,
        Endpoint.interface == interface,
        Endpoint.region_id == region,
    )
    row = session.scalars(query).first()
    if row is not None:
        row.url = url
        return
    session.add(
        Endpoint(
            id=identity.new_id(),
            interface=interface,
            service_id=service_id,
            region_id=region,
            url=url,
            enabled=True,
            extra={},
        )
    )
