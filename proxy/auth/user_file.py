"""Users in a TOML file: reading, atomic writing, and a directory that follows the file's changes.

    version = 1
    [[user]]
    name = "demo"
    account = "AUTH_demo"
    access_key = "..."
    secret_key = "..."
    swift_login = "demo:demo"
    admin = true

The file is 0600. `atoll user add|remove` writes it (`add_user`, `remove_user`), every worker reads
it (`FileUsers`).
"""

import contextlib
import errno
import fcntl
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator

from proxy.auth.errors import AuthError, NoSuchUser, UserFileInvalid
from proxy.auth.users import User, UserIndex, index_users, sorted_users
from runtime.clock import Clock

FILE_VERSION = 1
FILE_BYTES_MAX = 64 * 1024 * 1024
RECHECK_INTERVAL_S = 1.0
SAFE_MODE = 0o600

_STRING_FIELDS = ("name", "account", "access_key", "secret_key", "swift_login")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


# ---- text ----------------------------------------------------------------------------------------


def format_users(users: Iterable[User]) -> str:
    """The file's text for `users`, in their order."""
    lines = [f"version = {FILE_VERSION}"]
    for user in users:
        lines += ["", "[[user]]"]
        lines += [f"{field} = {_basic_string(getattr(user, field))}" for field in _STRING_FIELDS]
        lines.append(f"admin = {'true' if user.admin else 'false'}")
    return "\n".join(lines) + "\n"


def _basic_string(text: str) -> str:
    """A TOML 1.0 basic string: quote, backslash and control characters are escaped."""
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\u{ord(char):04X}"
    return char


def parse_users(text: str, path: str) -> UserIndex:
    """The users in a file's text; an empty file has none. Raises UserFileInvalid.

    path: only named in the error.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # the parser's text may quote a line, which may hold a secret: only its kind is told
        raise UserFileInvalid(path, "it is not TOML") from error
    _check_document(document, path)
    try:
        return index_users(_user_of(entry, path) for entry in document.get("user", []))
    except UserFileInvalid:
        raise
    except AuthError as error:
        raise UserFileInvalid(path, str(error)) from error


def _check_document(document: dict[str, object], path: str) -> None:
    if not document:
        return
    if type(document.get("version")) is not int or document["version"] != FILE_VERSION:
        raise UserFileInvalid(path, f"its version is not {FILE_VERSION}")
    if unknown := sorted(document.keys() - {"version", "user"}):
        raise UserFileInvalid(path, f"unknown key {unknown[0]!r}")
    if not isinstance(document.get("user", []), list):
        raise UserFileInvalid(path, "'user' is not a list of tables")


def _user_of(entry: object, path: str) -> User:
    if not isinstance(entry, dict):
        raise UserFileInvalid(path, "'user' is not a list of tables")
    if unknown := sorted(entry.keys() - {*_STRING_FIELDS, "admin"}):
        raise UserFileInvalid(path, f"unknown key {unknown[0]!r} in a user")
    for field in _STRING_FIELDS:
        if not isinstance(entry.get(field), str):
            raise UserFileInvalid(path, f"a user has no string {field!r}")
    if not isinstance(entry.get("admin", False), bool):
        raise UserFileInvalid(path, "'admin' is neither true nor false")
    return User(**entry)


# ---- file ----------------------------------------------------------------------------------------


def read_users(path: str) -> tuple[UserIndex, tuple[int, int, int]]:
    """The users in the file and its identity (inode, mtime in ns, size).

    Raises FileNotFoundError where there is none, UserFileInvalid for all else. A file that others
    may read is closed to them (mode 0600) before it is believed.
    """
    try:
        with open(path, "rb") as file:
            _close_to_others(file.fileno(), path)
            text = file.read(FILE_BYTES_MAX + 1)
            identity = _identity(os.fstat(file.fileno()))
        if len(text) > FILE_BYTES_MAX:
            raise UserFileInvalid(path, f"it is larger than {FILE_BYTES_MAX} bytes")
        return parse_users(text.decode("utf-8"), path), identity
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise UserFileInvalid(path, "it is not UTF-8") from error
    except OSError as error:
        raise UserFileInvalid(path, os.strerror(error.errno or errno.EIO)) from error


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _close_to_others(descriptor: int, path: str) -> None:
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & 0o077 == 0:
        return
    try:
        os.fchmod(descriptor, SAFE_MODE)
    except OSError as error:
        reason = f"its mode is {mode:04o}, others may read it, and it cannot be changed"
        raise UserFileInvalid(path, reason) from error


def write_users(path: str, users: Iterable[User]) -> None:
    """Replace the file at once and durably: temporary file, sync, rename, sync of the folder.

    Raises InvalidUser, DuplicateUser before anything is written; OSError.
    """
    text = format_users(sorted_users(index_users(users))).encode("utf-8")
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # left by a killed process that had our number
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SAFE_MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the file's lock against other writers; makes an empty 0600 file where there is none.

    The file is replaced by each write, so a lock counts only while its inode has the name.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, SAFE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                current = os.stat(path).st_ino == os.fstat(descriptor).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield
                return
        finally:
            os.close(descriptor)


def add_user(path: str, user: User) -> None:
    """Add one user durably; the file is made where there is none.

    Raises InvalidUser, DuplicateUser, UserFileInvalid; the file is then as it was.
    """
    with _locked(path):
        index, _ = read_users(path)
        write_users(path, [*index.by_name.values(), user])


def remove_user(path: str, name: str) -> User:
    """Remove one user durably and return it. Raises NoSuchUser, UserFileInvalid."""
    if not os.path.exists(path):
        raise NoSuchUser(name)
    with _locked(path):
        index, _ = read_users(path)
        if (user := index.by_name.get(name)) is None:
            raise NoSuchUser(name)
        write_users(path, (u for u in index.by_name.values() if u.name != name))
        return user


class FileUsers:
    """The directory that follows the file.

    The file is looked at no more often than each `RECHECK_INTERVAL_S`, and read when it changed, or
    could not be read. A file that is gone, broken or unreadable leaves the last good users in place and
    is reported once per state: on_problem is called with the error.
    """

    def __init__(self, path: str, clock: Clock, on_problem: Callable[[UserFileInvalid], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_problem = on_problem
        self._index = UserIndex({}, {}, {})
        self._identity: tuple[int, int, int] | None = None
        self._unreadable_reported = False
        self._recheck_at_s = float("-inf")

    def by_access_key(self, access_key: str) -> User | None:
        return self._current().by_access_key.get(access_key)

    def by_swift_login(self, login: str) -> User | None:
        return self._current().by_swift_login.get(login)

    def users(self) -> tuple[User, ...]:
        return sorted_users(self._current())

    def _current(self) -> UserIndex:
        now_s = self._clock.monotonic()
        if now_s >= self._recheck_at_s:
            self._recheck_at_s = now_s + RECHECK_INTERVAL_S
            self._follow()
        return self._index

    def _follow(self) -> None:
        try:
            if (identity := _identity(os.stat(self._path))) == self._identity:
                return
            # remembered before the read: a broken file is reported once, not each second
            self._identity = identity
            self._index, self._identity = read_users(self._path)
            self._unreadable_reported = False
        except FileNotFoundError:
            self._unreadable("it does not exist")
        except UserFileInvalid as error:
            if isinstance(error.__cause__, OSError):
                self._unreadable(error.reason)
            else:
                self._unreadable_reported = False
                self._on_problem(error)
        except OSError as error:
            self._unreadable(os.strerror(error.errno or errno.EIO))

    def _unreadable(self, why: str) -> None:
        self._identity = None  # the file did not change: it is tried again, for it may be us
        if not self._unreadable_reported:
            self._unreadable_reported = True
            self._on_problem(UserFileInvalid(self._path, why))
