"""Users: how they look, and what a new password must be and does."""

from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from compute.identity.call import Identity
from compute.identity.errors import duplicate
from compute.identity.instants import DAY_US, text_of
from compute.identity.models.people import Password, User
from compute.identity.passwords import expiry_of, fits
from compute.identity.people import present_password
from compute.identity.settings import Settings
from compute.identity.tokens.revocations import revoke
from compute.server.errors import BadRequest

COLUMNS: Final = ("name", "enabled", "default_project_id", "options")


def user_view(session: Session, row: User) -> dict[str, Any]:
    """A user as the API shows it."""
    password = present_password(session, row.id)
    view = {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "options": {name: value for name, value in row.options.items() if value is not None},
        "password_expires_at": text_of(password.expires_at_us if password else None),
    }
    if row.default_project_id:
        view["default_project_id"] = row.default_project_id
    return view


def check_name_free(session: Session, row: User) -> None:
    """Raises Conflict; the table's constraint guards it, too."""
    query = select(User.id).where(
        User.domain_id == row.domain_id, User.name == row.name, User.id != row.id
    )
    with session.no_autoflush:
        if session.scalars(query).first() is not None:
            raise duplicate(
                "user", f"Duplicate entry found with name {row.name} at domain ID {row.domain_id}"
            )


def set_password(
    session: Session, user: User, hashed: str, identity: Identity, *, by_user: bool, first: bool = False
) -> None:
    """Make it the user's password; all tokens issued before are revoked.

    Of older ones, as many are kept as may not be chosen again.
    """
    now_us, settings = identity.now_us(), identity.settings
    expires_us = expiry_of(now_us, settings)
    if user.options.get("ignore_password_expiry"):
        expires_us = None
    must_change = settings.change_first_password and not by_user
    if must_change and not user.options.get("ignore_change_password_upon_first_use"):
        expires_us = now_us
    session.add(
        Password(
            user_id=user.id,
            hashed=hashed,
            created_at_us=now_us,
            expires_at_us=expires_us,
            by_user=by_user,
        )
    )
    session.flush()
    _forget_passwords(session, user.id, max(settings.password_history, 1))
    if not first:
        revoke(session, now_us, user_id=user.id)


def _forget_passwords(session: Session, user_id: str, kept: int) -> None:
    numbers = select(Password.number).where(Password.user_id == user_id)
    old = session.scalars(numbers.order_by(Password.number.desc()).offset(kept)).all()
    session.execute(delete(Password).where(Password.number.in_(old)))


def check_not_used(earlier: list[Password], password: str, settings: Settings) -> None:
    """Raises BadRequest for one of the last passwords. Slow: it is to be outside of transactions."""
    unique = settings.password_history
    if unique > 1 and any(fits(row.hashed, password) for row in earlier[:unique]):
        raise BadRequest(
            "Password validation error: The new password cannot be identical to a previous password."
            f" The total number which includes the new password must be unique is {unique}."
        )


def check_age(present: Password | None, now_us: int, settings: Settings) -> None:
    """Raises BadRequest where the user's own last change is too new."""
    if present is None or not settings.password_age_days or not present.by_user:
        return
    left_us = present.created_at_us + settings.password_age_days * DAY_US - now_us
    if left_us > 0:
        raise BadRequest(
            "You cannot change your password at this time due to the minimum password age. Once you"
            f" change your password, it must be used for {settings.password_age_days} day(s) before it"
            f" can be changed. Please try again in {-(-left_us // DAY_US)} day(s) or contact your"
            " administrator to reset your password."
        )


def passwords_of(session: Session, user_id: str) -> list[Password]:
    """A user's passwords that are kept, the present one first."""
    query = select(Password).where(Password.user_id == user_id).order_by(Password.number.desc())
    return list(session.scalars(query))
