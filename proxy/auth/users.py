"""Users with their keys, the contract of a user directory, and the directory in memory.

The file-backed directory is in `user_file.py`. S3 looks users up by access key, Swift by login.
"""

import base64
import dataclasses
import re
from collections.abc import Iterable
from typing import Protocol

from proxy.auth.errors import DuplicateUser, InvalidUser
from runtime.randomness import Randomness

NAME_BYTES_MAX = 128
ACCOUNT_BYTES_MAX = 256
ACCESS_KEY_BYTES_MAX = 128
SECRET_KEY_BYTES_MAX = 256

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")
_ACCOUNT = re.compile(r"[A-Za-z0-9._@+=~-]+")
_ACCESS_KEY = re.compile(r"[A-Za-z0-9._@+=~-]+")
_SECRET_KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_LOGIN = re.compile(r"[A-Za-z0-9_@+=~-][A-Za-z0-9._@+=~-]*:[A-Za-z0-9._@+=~-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Someone with keys.

    account: the account that the user owns, as `AUTH_demo`. access_key, secret_key: the S3 keys;
    the secret key is the Swift password, too. swift_login: `account:user` as TempAuth writes it.
    admin: may act on every account and use the administrative calls.
    """

    name: str
    account: str
    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    swift_login: str
    admin: bool = False

    @property
    def groups(self) -> frozenset[str]:
        """The names under which container ACLs may know the user (Swift's TempAuth groups)."""
        login_account = self.swift_login.partition(":")[0]
        return frozenset((login_account, self.swift_login, self.account))


class UserDirectory(Protocol):
    """Who exists. Lookups are cheap, never block on a network and never raise."""

    def by_access_key(self, access_key: str) -> User | None:
        """The user with this S3 access key."""

    def by_swift_login(self, login: str) -> User | None:
        """The user with this Swift login (`account:user`)."""

    def users(self) -> tuple[User, ...]:
        """All users, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class UserIndex:
    """A set of users with distinct names, access keys and logins; immutable."""

    by_name: dict[str, User]
    by_access_key: dict[str, User]
    by_swift_login: dict[str, User]


def index_users(users: Iterable[User]) -> UserIndex:
    """Check and index `users`. Raises InvalidUser, DuplicateUser."""
    index = UserIndex({}, {}, {})
    for user in users:
        check_user(user)
        _put_once(index.by_name, "name", user.name, user)
        _put_once(index.by_access_key, "access key", user.access_key, user)
        _put_once(index.by_swift_login, "swift login", user.swift_login, user)
    return index


def _put_once(table: dict[str, User], field: str, value: str, user: User) -> None:
    if value in table:
        raise DuplicateUser(field, value)
    table[value] = user


def check_user(user: User) -> None:
    """Raises InvalidUser unless each field can travel in headers, URLs and credential scopes."""
    _check("name", user.name, _NAME, NAME_BYTES_MAX)
    _check("account", user.account, _ACCOUNT, ACCOUNT_BYTES_MAX)
    _check("access key", user.access_key, _ACCESS_KEY, ACCESS_KEY_BYTES_MAX)
    _check("swift login", user.swift_login, _LOGIN, ACCOUNT_BYTES_MAX)
    _check("secret key", user.secret_key, _SECRET_KEY, SECRET_KEY_BYTES_MAX)


def _check(field: str, value: str, pattern: re.Pattern[str], size_max: int) -> None:
    if len(value) > size_max:
        raise InvalidUser(f"the {field} is longer than {size_max} characters")
    if pattern.fullmatch(value) is None:
        raise InvalidUser(f"the {field} is empty or has a character that is not allowed in it")


def new_user(
    name: str,
    randomness: Randomness,
    *,
    account: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    admin: bool = False,
) -> User:
    """A user with what is not given made up: account `AUTH_<name>`, login `<name>:<name>`, keys.

    The login's first half is the account without `AUTH_`. Raises InvalidUser.
    """
    account = f"AUTH_{name}" if account is None else account
    user = User(
        name=name,
        account=account,
        access_key=new_access_key(randomness) if access_key is None else access_key,
        secret_key=new_secret_key(randomness) if secret_key is None else secret_key,
        swift_login=f"{account.removeprefix('AUTH_')}:{name}",
        admin=admin,
    )
    check_user(user)
    return user


def new_access_key(randomness: Randomness) -> str:
    """20 characters like Amazon's: upper case letters and digits, 90 random bits."""
    return "AT" + base64.b32encode(randomness.token(12)).decode("ascii")[:18]


def new_secret_key(randomness: Randomness) -> str:
    """40 characters of the URL-safe base64 alphabet, 240 random bits."""
    return base64.urlsafe_b64encode(randomness.token(30)).decode("ascii")


class MemoryUsers:
    """The directory in memory, for tests and for keys that come from the environment."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        self._index = index_users(users)

    def by_access_key(self, access_key: str) -> User | None:
        return self._index.by_access_key.get(access_key)

    def by_swift_login(self, login: str) -> User | None:
        return self._index.by_swift_login.get(login)

    def users(self) -> tuple[User, ...]:
        return sorted_users(self._index)

    def add(self, user: User) -> None:
        """Raises InvalidUser, DuplicateUser."""
        self._index = index_users([*self._index.by_name.values(), user])

    def remove(self, name: str) -> None:
        """Forget the user; forgetting nobody changes nothing."""
        self._index = index_users(u for u in self._index.by_name.values() if u.name != name)


def sorted_users(index: UserIndex) -> tuple[User, ...]:
    """All users of an index, by name."""
    return tuple(user for _, user in sorted(index.by_name.items()))
