"""Users, their directory in memory, and the user file: text, modes, changes, writers at once."""

import dataclasses
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from proxy.auth import errors, user_file
from proxy.auth.user_file import FileUsers, add_user, format_users, parse_users, read_users
from proxy.auth.users import MemoryUsers, User, UserDirectory, check_user, new_user
from runtime.randomness import SeededRandomness

DEMO = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo", admin=True)
EVE = User("eve", "AUTH_eve", "ATEVE", "another secret", "eve:eve")


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_ns(self) -> int:
        return int(self.time_s * 1e9)

    def monotonic(self) -> float:
        return self.time_s


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "credentials.toml")


def fail(problem: errors.UserFileInvalid) -> None:
    raise problem


def changed(user: User, change: dict[str, str]) -> User:
    return dataclasses.replace(user, **change)  # type: ignore[arg-type]


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_directories_find_users(kind: str, path: str) -> None:
    directory: UserDirectory
    if kind == "memory":
        directory = MemoryUsers([EVE, DEMO])
    else:
        user_file.write_users(path, [EVE, DEMO])
        directory = FileUsers(path, HandClock(), fail)
    assert directory.users() == (DEMO, EVE)
    assert directory.by_access_key("ATEVE") == EVE
    assert directory.by_swift_login("demo:demo") == DEMO
    assert directory.by_access_key("ateve") is None
    assert directory.by_swift_login("demo") is None


def test_users_are_distinct() -> None:
    users = MemoryUsers([DEMO])
    for field, change in (
        ("name", {"name": "demo"}),
        ("access key", {"access_key": "ATDEMO"}),
        ("swift login", {"swift_login": "demo:demo"}),
    ):
        with pytest.raises(errors.DuplicateUser) as caught:
            users.add(changed(EVE, change))
        assert caught.value.field == field
    assert users.users() == (DEMO,)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "-x"},
        {"name": "x" * 129},
        {"account": "a/b"},
        {"account": ""},
        {"access_key": "a/b"},
        {"access_key": "a:b"},
        {"access_key": "a,b"},
        {"secret_key": ""},
        {"secret_key": "a\nb"},
        {"secret_key": " a"},
        {"secret_key": "é"},
        {"secret_key": "x" * 257},
        {"swift_login": "demo"},
        {"swift_login": ":x"},
        {"swift_login": ".r:x"},
        {"swift_login": "a:b:c"},
    ],
)
def test_fields_are_checked(change: dict[str, str]) -> None:
    check_user(DEMO)
    with pytest.raises(errors.InvalidUser) as caught:
        check_user(changed(DEMO, change))
    assert "x" * 100 not in str(caught.value)


def test_new_users_get_keys() -> None:
    randomness = SeededRandomness(1)
    one, two = new_user("one", randomness), new_user("two", randomness, account="AUTH_team")
    assert (one.account, one.swift_login) == ("AUTH_one", "one:one")
    assert (two.account, two.swift_login) == ("AUTH_team", "team:two")
    assert len(one.access_key) == 20
    assert len(one.secret_key) == 40
    assert one.access_key != two.access_key
    assert one.secret_key != two.secret_key
    given = new_user("x", randomness, access_key="AK", secret_key="SK", admin=True)
    assert given == User("x", "AUTH_x", "AK", "SK", "x:x", admin=True)
    with pytest.raises(errors.InvalidUser):
        new_user("a b", randomness)


def test_secrets_are_not_shown() -> None:
    assert DEMO.secret_key not in repr(DEMO)
    assert DEMO.secret_key not in f"{DEMO} {[DEMO]}"


# ---- the file ------------------------------------------------------------------------------------


def test_text_round_trip_with_awkward_secrets() -> None:
    awkward = dataclasses.replace(EVE, secret_key='a"b\\c#d = [e] \\u0041')
    text = format_users([DEMO, awkward])
    assert parse_users(text, "f").by_name == {"demo": DEMO, "eve": awkward}


@pytest.mark.parametrize(
    "text",
    [
        "[[user]",
        "version = 2",
        "version = true",
        "users = 1",
        "version = 1\nuser = 3",
        "version = 1\nuser = [3]",
        'version = 1\nunknown = "x"',
        'version = 1\n[[user]]\nname = "a"',
        format_users([DEMO]).replace("true", '"yes"'),
        format_users([DEMO]) + 'colour = "red"',
        format_users([DEMO, DEMO]),
        format_users([DEMO]).replace("demo:demo", "demo"),
        "x = " + "[" * 5000,
    ],
)
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(errors.UserFileInvalid) as caught:
        parse_users(text, "the-file")
    assert caught.value.path == "the-file"
    assert DEMO.secret_key not in str(caught.value)


def test_writing_is_private_and_leaves_nothing_else(path: str) -> None:
    add_user(path, DEMO)
    add_user(path, EVE)
    assert mode_of(path) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["credentials.toml"]
    assert read_users(path)[0].by_name == {"demo": DEMO, "eve": EVE}


def test_removing(path: str) -> None:
    with pytest.raises(errors.NoSuchUser):
        user_file.remove_user(path, "demo")
    assert not os.path.exists(path)
    add_user(path, DEMO)
    add_user(path, EVE)
    assert user_file.remove_user(path, "demo") == DEMO
    with pytest.raises(errors.NoSuchUser):
        user_file.remove_user(path, "demo")
    assert read_users(path)[0].by_name == {"eve": EVE}


def test_a_refused_change_changes_nothing(path: str) -> None:
    add_user(path, DEMO)
    before = Path(path).read_bytes()
    for user in (DEMO, dataclasses.replace(EVE, secret_key="")):
        with pytest.raises(errors.UserError):
            add_user(path, user)
    assert Path(path).read_bytes() == before
    Path(path).write_text("broken [")
    with pytest.raises(errors.UserFileInvalid):
        add_user(path, EVE)
    assert Path(path).read_text() == "broken ["
    assert os.listdir(os.path.dirname(path)) == ["credentials.toml"]


def test_writers_at_once_lose_no_user(path: str) -> None:
    users = [new_user(f"user-{number}", SeededRandomness(number)) for number in range(12)]
    threads = [threading.Thread(target=add_user, args=(path, user)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_users(path)[0].by_name) == {user.name for user in users}


def test_an_open_file_is_closed_to_others(path: str) -> None:
    Path(path).write_text(format_users([DEMO]))
    os.chmod(path, 0o644)
    assert read_users(path)[0].by_name == {"demo": DEMO}
    assert mode_of(path) == 0o600


def test_unreadable_files(path: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_users(path)
    with pytest.raises(errors.UserFileInvalid):
        read_users(str(tmp_path))
    Path(path).write_bytes(b"\xff\xfe")
    with pytest.raises(errors.UserFileInvalid):
        read_users(path)


def test_changes_are_followed_at_most_once_a_second(path: str) -> None:
    clock = HandClock()
    users = FileUsers(path, clock, lambda _: None)
    assert users.users() == ()
    add_user(path, DEMO)
    assert users.by_access_key("ATDEMO") is None  # not looked at again yet
    clock.time_s += 1.0
    assert users.by_access_key("ATDEMO") == DEMO
    user_file.remove_user(path, "demo")
    clock.time_s += 0.5
    assert users.by_access_key("ATDEMO") == DEMO
    clock.time_s += 0.5
    assert users.by_access_key("ATDEMO") is None


def test_broken_and_missing_files_keep_the_last_users(path: str) -> None:
    clock = HandClock()
    problems: list[errors.UserFileInvalid] = []
    add_user(path, DEMO)
    users = FileUsers(path, clock, problems.append)
    assert users.users() == (DEMO,)

    def look() -> None:
        clock.time_s += 1.0
        assert users.users() == (DEMO,)

    Path(path).write_text("broken [")
    look()
    look()
    assert [problem.reason for problem in problems] == ["it is not TOML"]  # told once
    os.unlink(path)
    look()
    look()
    assert [problem.reason for problem in problems[1:]] == ["it does not exist"]
    add_user(path, EVE)
    clock.time_s += 1.0
    assert users.users() == (EVE,)
    os.unlink(path)
    clock.time_s += 1.0
    assert users.users() == (EVE,)
    assert len(problems) == 3


def test_a_file_that_could_not_be_read_is_read_later(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That this process has no free descriptor is no reason to know nobody from then on."""
    add_user(path, DEMO)
    problems: list[errors.UserFileInvalid] = []
    clock = HandClock()
    users = FileUsers(path, clock, problems.append)

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", refuse)
        for _ in range(3):
            assert users.by_access_key("ATDEMO") is None
            clock.time_s += 1.0
    assert [problem.reason for problem in problems] == ["Too many open files"]
    assert users.by_access_key("ATDEMO") == DEMO
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", refuse)
        os.utime(path)
        clock.time_s += 1.0
        assert users.by_access_key("ATDEMO") == DEMO
    assert len(problems) == 2
