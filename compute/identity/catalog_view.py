"""The catalog as one token sees it: enabled services, endpoints with their URLs filled in."""

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.models.catalog import (
    Endpoint,
    EndpointGroup,
    ProjectEndpoint,
    ProjectEndpointGroup,
    Service,
)

_PLACE: Final = re.compile(r"[$%]\((\w+)\)s")
KNOWN: Final = frozenset({"project_id", "tenant_id", "user_id"})


def filled(url: str, values: Mapping[str, str | None]) -> str | None:
    """The URL with $(project_id)s and the like filled in; None where a value is not known."""
    names = _PLACE.findall(url)
    if any(values.get(name) is None for name in names):
        return None
    return _PLACE.sub(lambda match: values[match[1]] or "", url)


def may_be_filled(url: str) -> bool:
    """Whether every place in the URL has a name that tokens can fill in."""
    return all(name in KNOWN for name in _PLACE.findall(url)) and "$(" not in _PLACE.sub("", url)


def fits_group(filters: Mapping[str, Any], endpoint: Endpoint) -> bool:
    """Whether an endpoint is in a group with these filters."""
    return all(getattr(endpoint, name, None) == value for name, value in filters.items())


def seen_by_project(session: Session, project_id: str) -> set[str] | None:
    """The endpoints' ids that the project is limited to; None: all, because nothing limits it."""
    direct = session.scalars(
        select(ProjectEndpoint.endpoint_id).where(ProjectEndpoint.project_id == project_id)
    ).all()
    groups = session.scalars(
        select(EndpointGroup)
        .join(ProjectEndpointGroup, ProjectEndpointGroup.endpoint_group_id == EndpointGroup.id)
        .where(ProjectEndpointGroup.project_id == project_id)
    ).all()
    if not direct and not groups:
        return None
    endpoints = session.scalars(select(Endpoint)).all() if groups else []
    fitting = {e.id for g in groups for e in endpoints if fits_group(g.filters, e)}
    return set(direct) | fitting


def catalog(session: Session, user_id: str, project_id: str | None) -> list[dict[str, Any]]:
    """Services with the endpoints that this user sees, without those whose URL can't be filled in."""
    rows = session.execute(
        select(Service, Endpoint)
        .join(Endpoint, Endpoint.service_id == Service.id)
        .where(Service.enabled, Endpoint.enabled)
        .order_by(Service.type, Service.id, Endpoint.region_id, Endpoint.interface)
    ).all()
    seen = seen_by_project(session, project_id) if project_id else None
    values = {"project_id": project_id, "tenant_id": project_id, "user_id": user_id}
    found: dict[str, dict[str, Any]] = {}
    for service, endpoint in rows:
        url = filled(endpoint.url, values)
        if url is None or (seen is not None and endpoint.id not in seen):
            continue
        entry = found.setdefault(
            service.id,
            {
                "id": service.id,
                "type": service.type,
                "name": service.extra.get("name") or "",
                "endpoints": [],
            },
        )
        entry["endpoints"].append(
            {
                "id": endpoint.id,
                "interface": endpoint.interface,
                "region_id": endpoint.region_id,
                "region": endpoint.region_id,
                "url": url,
            }
        )
    return list(found.values())
