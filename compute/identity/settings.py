"""What an operator may choose about identity. Defaults are upstream's."""

from typing import Final

import msgspec

EXTENSION_LISTS: Final = 100


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """token_s: a token's life. lockout_*: wrong passwords in a row (0: never lock) and for how long.

    password_days: a password's life, 0 for ever. password_history: so many last passwords can't be
    chosen again (0 and 1: only the present one is known). password_age_days: before it may be changed.
    """

    token_s: int = 3600
    lockout_attempts: int = 0
    lockout_s: int = 1800
    password_regex: str = ""
    password_regex_said: str = ""
    password_days: int = 0
    password_history: int = 0
    password_age_days: int = 0
    change_first_password: bool = False
    region: str = "RegionOne"
    list_max: int = 10_000
    tree_depth_max: int = 5
    trust_redelegation_max: int = 3
    request_token_s: int = 28_800
    access_token_s: int = 86_400
