"""Passwords and other secrets: hashed with argon2id, and what an operator asks of them.

Hashing takes some 20 ms of a core and 19 MiB (OWASP's smallest advice), so it is done outside of
transactions, and on the database's threads, whose number bounds both.
"""

import hashlib
import re
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from compute.identity.instants import DAY_US
from compute.identity.settings import Settings
from compute.server.errors import BadRequest

PASSWORD_CHARS_MAX: Final = 4096

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NOBODY: Final = _HASHER.hash("nobody's password, verified in vain")


def hashed(password: str) -> str:
    """The text to keep. Raises BadRequest for one that is too long."""
    if len(password) > PASSWORD_CHARS_MAX:
        raise BadRequest(
            f"The password length must be less than or equal to {PASSWORD_CHARS_MAX}. The server could"
            " not comply with the request because the password is invalid."
        )
    return _HASHER.hash(password)


def fits(kept: str | None, password: str) -> bool:
    """Whether it is the password. kept None: no, but after as long as for a wrong one."""
    try:
        return _HASHER.verify(kept or _NOBODY, password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def quick_hash(secret: str) -> str:
    """Of a secret of many random bits that we made: nobody can guess it, so it may be fast."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_strength(password: str, settings: Settings) -> None:
    """Raises BadRequest where the operator's pattern is not met."""
    if settings.password_regex and re.match(settings.password_regex, password) is None:
        said = settings.password_regex_said or f"it must match {settings.password_regex}"
        raise BadRequest(f"The password does not match the requirements: {said}.")


def expiry_of(now_us: int, settings: Settings) -> int | None:
    """When a password that is chosen now expires; None for never."""
    return now_us + settings.password_days * DAY_US if settings.password_days else None
