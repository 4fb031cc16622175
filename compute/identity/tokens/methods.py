"""How a user proves to be one: by password, token, one-time password or application credential.

Each method answers `Proof` or raises Unauthorized, saying no more than strangers may know. What is
slow (hashing) happens between transactions.
"""

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import delete, select

from compute.database.engine import NotUnique
from compute.identity.call import Identity
from compute.identity.errors import unauthorized
from compute.identity.instants import US
from compute.identity.models.access import ApplicationCredential, Credential
from compute.identity.models.people import User
from compute.identity.models.projects import Project
from compute.identity.models.tokens import UsedOnce
from compute.identity.passwords import fits, quick_hash
from compute.identity.people import expecting, present_password, user_named
from compute.identity.tokens.payload import BadToken, Payload, packed
from compute.identity.tokens.standing import Refused, stand
from compute.server.errors import NotFound, Unauthorized

TOTP_STEP_S: Final = 30
TOTP_STEPS_BACK: Final = 1

log = logging.getLogger("atoll.cloud.identity")


class Proof(NamedTuple):
    """Who someone has proved to be. earlier: the payload of the token that proved it."""

    user_id: str
    earlier: Payload | None = None
    application_credential: str = ""
    project_id: str = ""
    access_token: str = ""


def _refuse(reason: str, *facts: str) -> Unauthorized:
    """A refusal whose reason only the log has."""
    log.info("not authenticated: %s %s", reason, " ".join(facts))
    return unauthorized()


def by_password(identity: Identity, given: Mapping[str, Any]) -> Proof:
    """{"user": {"id" or "name" and "domain", "password"}}."""
    named = given.get("user") or {}
    if not isinstance(named.get("password"), str):
        raise expecting("password", "user")
    check_password(identity, named, named["password"])
    with identity.database.read() as session:
        user = user_named(session, named)
        assert user is not None
        kept = present_password(session, user.id)
        expires = kept.expires_at_us if kept else None
        if expires is not None and expires <= identity.now_us():
            raise unauthorized(f"The password is expired and needs to be changed for user: {user.id}.")
        return Proof(user.id)


def check_password(identity: Identity, named: Mapping[str, Any], password: str) -> str:
    """The user's id, if the password is right, whether or not it has expired. Raises Unauthorized.

    Counts wrong ones, and locks the account after too many in a row.
    """
    with identity.database.read() as session:
        user = user_named(session, named)
        kept = present_password(session, user.id) if user else None
        usable = user is not None and _is_enabled(session, user)
    if user is not None and _is_locked(identity, user):
        raise unauthorized(f"The account is locked for user: {user.id}.")
    right = fits(kept.hashed if kept else None, password)
    if user is None:
        raise _refuse("no such user")
    if not right:
        _count_failure(identity, user.id)
        raise _refuse("wrong password", user.id)
    if not usable:
        raise unauthorized(f"The account is disabled for user: {user.id}.")
    if user.failures:
        _forget_failures(identity, user.id)
    return user.id


def _is_enabled(session: Any, user: User) -> bool:
    domain = session.get(Project, user.domain_id)
    return bool(user.enabled and domain is not None and domain.enabled)


def _is_locked(identity: Identity, user: User) -> bool:
    settings = identity.settings
    if not settings.lockout_attempts or user.failures < settings.lockout_attempts:
        return False
    if user.options.get("ignore_lockout_failure_attempts"):
        return False
    return identity.now_us() < user.failed_at_us + settings.lockout_s * US


def _count_failure(identity: Identity, user_id: str) -> None:
    """Of all processes together: the row is read anew within the write."""
    if not identity.settings.lockout_attempts:
        return
    with identity.database.write("identity", changes=False) as session:
        user = session.get(User, user_id)
        if user is None:
            return
        over = user.failed_at_us + identity.settings.lockout_s * US <= identity.now_us()
        full = user.failures >= identity.settings.lockout_attempts
        user.failures = 1 if over and full else user.failures + 1
        user.failed_at_us = identity.now_us()


def _forget_failures(identity: Identity, user_id: str) -> None:
    with identity.database.write("identity", changes=False) as session:
        user = session.get(User, user_id)
        if user is not None:
            user.failures = 0


def by_token(identity: Identity, given: Mapping[str, Any]) -> Proof:
    """{"id": a token}. Raises NotFound for one that is worth nothing, as upstream does."""
    token = given.get("id")
    if not isinstance(token, str):
        raise expecting("id", "token")
    try:
        payload = identity.keys.read(token)
        with identity.database.read() as session:
            standing = stand(session, payload, identity.now_us())
    except (BadToken, Refused) as error:
        raise NotFound("Failed to validate token") from error
    app = standing.application_credential
    return Proof(standing.user.id, payload, app.id if app else "", payload.scope_id if app else "")


def by_totp(identity: Identity, given: Mapping[str, Any]) -> Proof:
    """{"user": {…, "passcode"}}: RFC 6238 with SHA-1, six digits, steps of 30 s; each code once."""
    named = given.get("user") or {}
    passcode = str(named.get("passcode") or "")
    if not passcode:
        raise expecting("passcode", "user")
    with identity.database.read() as session:
        user = user_named(session, named)
        if user is None or not _is_enabled(session, user):
            raise _refuse("no such user, or disabled")
        query = select(Credential).where(Credential.user_id == user.id, Credential.type == "totp")
        seeds = [identity.sealer.open(row.blob).decode() for row in session.scalars(query)]
    step = identity.now_us() // US // TOTP_STEP_S
    for at in range(step, step - TOTP_STEPS_BACK - 1, -1):
        for seed in seeds:
            if hmac.compare_digest(totp(seed, at).encode(), passcode.encode("utf-8")):
                return _used_once(identity, f"totp {user.id} {at} {passcode}", user.id)
    raise _refuse("wrong one-time password", user.id)


def totp(seed: str, step: int) -> str:
    """The code of a base32 seed at a step; "" for a seed that is none."""
    try:
        key = base64.b32decode(seed.upper() + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError):
        return ""
    digest = hmac.digest(key, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def _used_once(identity: Identity, what: str, user_id: str) -> Proof:
    now_us = identity.now_us()
    try:
        with identity.database.write("identity", changes=False) as session:
            session.execute(delete(UsedOnce).where(UsedOnce.until_us < now_us))
            session.add(UsedOnce(what=what, until_us=now_us + 10 * TOTP_STEP_S * US))
    except NotUnique as error:
        raise _refuse("one-time password used before", user_id) from error
    return Proof(user_id)


def by_application_credential(identity: Identity, given: Mapping[str, Any]) -> Proof:
    """{"id" or "name" and "user", "secret"}."""
    secret = given.get("secret")
    if not isinstance(secret, str):
        raise expecting("secret", "application_credential")
    with identity.database.read() as session:
        app = _application_credential(session, given)
        user = session.get(User, app.user_id) if app else None
        if app is None or user is None or not _is_enabled(session, user):
            raise _refuse("no such application credential, or its user is disabled")
    if not hmac.compare_digest(quick_hash(secret), app.secret_hash) and not (
        app.secret_hash.startswith("$argon2") and fits(app.secret_hash, secret)
    ):
        raise _refuse("wrong secret of application credential", app.id)
    if app.expires_at_us is not None and app.expires_at_us <= identity.now_us():
        raise _refuse("expired application credential", app.id)
    return Proof(app.user_id, None, app.id, app.project_id)


def _application_credential(session: Any, given: Mapping[str, Any]) -> ApplicationCredential | None:
    if given.get("id"):
        found: ApplicationCredential | None = session.get(ApplicationCredential, given["id"])
        return found
    if not given.get("name"):
        raise expecting("id or name", "application_credential")
    user = user_named(session, given.get("user") or {})
    if user is None:
        return None
    table = ApplicationCredential
    query = select(table).where(table.user_id == user.id, table.name == given["name"])
    named: ApplicationCredential | None = session.scalars(query).first()
    return named


def blob_of(identity: Identity, credential: Credential) -> dict[str, Any]:
    """A credential's blob where it is a JSON object; empty where not."""
    try:
        parsed = msgspec.json.decode(identity.sealer.open(credential.blob))
    except msgspec.DecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


__all__ = ["Proof", "by_application_credential", "by_password", "by_token", "by_totp", "packed"]
