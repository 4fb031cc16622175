"""Keystone's refusals that are made in more than one place, in its own words."""

from compute.server.errors import Conflict, Forbidden, NotFound, Unauthorized

MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect."
    " The client is assumed to be in error."
)


def not_found(kind: str, ident: str) -> NotFound:
    """There is no such resource. kind: as the API calls it in sentences."""
    return NotFound(f"Could not find {kind}: {ident}.")


def unauthorized(reason: str = "The request you have made requires authentication.") -> Unauthorized:
    """Who asks is not known. reason: only where it tells a stranger nothing."""
    return Unauthorized(reason)


def not_allowed(action: str) -> Forbidden:
    """The caller may not."""
    return Forbidden(f"You are not authorized to perform the requested action: {action}.")


def duplicate(kind: str, detail: str) -> Conflict:
    """Something like it is there already."""
    return Conflict(f"Conflict occurred attempting to store {kind} - {detail}.")


def duplicate_name(kind: str, name: str, domain_id: str | None = None) -> Conflict:
    """The name is taken."""
    where = f" at domain ID {domain_id}" if domain_id else ""
    return duplicate(kind, f"Duplicate entry found with name {name}{where}")
