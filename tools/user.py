"""`atoll user`: S3 keys and Swift logins, in the file that every worker follows.

Keys are made up, taken from the environment or asked for; never arguments, because every user of the
machine can read those. A running store knows of a change within a second.
Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from proxy.auth.errors import UserError
from proxy.auth.user_file import add_user, read_users, remove_user
from proxy.auth.users import User, new_user, sorted_users
from runtime.config import load
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from tools.data import credentials_path

ACCESS_KEY_VARIABLE: Final = "ATOLL_ACCESS_KEY"
SECRET_KEY_VARIABLE: Final = "ATOLL_SECRET_KEY"  # noqa: S105 - the name of one, not a secret

KEYS_HELP: Final = (
    "where the keys come from: made up (the default), "
    f"{ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} in the environment, or asked for"
)


class Keys(NamedTuple):
    """None: to be made up."""

    access_key: str | None
    secret_key: str | None


def add_parser(subparsers: Any) -> None:
    """Register `user` and its subcommands."""
    parser = subparsers.add_parser(
        "user",
        help="add, list and remove users",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="user_command", required=True, metavar="COMMAND")
    adding = _command(commands, "add", _add, "add a user and print its keys, this once")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("--account", help="the account that the user owns (AUTH_<NAME>)")
    adding.add_argument("--admin", action="store_true", help="may act on every account")
    adding.add_argument("--keys", choices=("new", "env", "prompt"), default="new", help=KEYS_HELP)
    _command(commands, "list", _list, "list the users, without their secret keys")
    removing = _command(commands, "remove", _remove, "remove a user; its account and data stay")
    removing.add_argument("name", metavar="NAME")


def _command(
    commands: Any, name: str, perform: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--data", metavar="DIR", help="data directory (atoll-data)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")

    def guarded(args: argparse.Namespace) -> int:
        try:
            return perform(args)
        except UserError as error:
            raise AtollError(str(error)) from error

    parser.set_defaults(func=guarded)
    return parser


def _credentials(args: argparse.Namespace) -> str:
    config = load(args.config, data=os.path.abspath(args.data) if args.data else None)
    if not os.path.isdir(config.data):
        raise AtollError(f"there is no data directory {config.data}; `atoll up` makes one")
    return credentials_path(config)


def keys_from_environment(environment: Mapping[str, str]) -> Keys:
    """Both keys, set and not empty. Raises AtollError."""
    for variable in (ACCESS_KEY_VARIABLE, SECRET_KEY_VARIABLE):
        if not environment.get(variable):
            raise AtollError(f"--keys env: {variable} is not set")
    return Keys(environment[ACCESS_KEY_VARIABLE], environment[SECRET_KEY_VARIABLE])


def _prompted_keys() -> Keys:
    if not sys.stdin.isatty():
        raise AtollError("--keys prompt needs a terminal; --keys env reads the environment")
    print("access key (empty: a new one): ", end="", file=sys.stderr, flush=True)
    access_key = sys.stdin.readline().strip()
    secret_key = getpass.getpass("secret key (empty: a new one): ")
    return Keys(access_key or None, secret_key or None)


def _keys(source: str) -> Keys:
    if source == "env":
        return keys_from_environment(os.environ)
    return _prompted_keys() if source == "prompt" else Keys(None, None)


def _add(args: argparse.Namespace) -> int:
    path = _credentials(args)
    keys = _keys(args.keys)
    user = new_user(
        args.name,
        SystemRandomness(),
        account=args.account,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        admin=args.admin,
    )
    add_user(path, user)
    if args.json:
        print(json.dumps({**public_document(user), "secret_key": user.secret_key}, indent=2))
    else:
        print(f"user {user.name} owns account {user.account}{_admin_text(user)}")
        print(f"  access key   {user.access_key}")
        print(f"  secret key   {user.secret_key}")
        print(f"  Swift login  {user.swift_login}, password: the secret key")
        print(f"  (kept in {path}; no command prints the secret key again)")
    return 0


def _list(args: argparse.Namespace) -> int:
    path = _credentials(args)
    users = sorted_users(read_users(path)[0]) if os.path.exists(path) else ()
    if args.json:
        print(json.dumps([public_document(user) for user in users], indent=2))
        return 0
    for user in users:
        print(
            f"{user.name}  account {user.account}  access key {user.access_key}  "
            f"Swift login {user.swift_login}{_admin_text(user)}"
        )
    if not users:
        print(f"there are no users in {path}; `atoll user add NAME` makes one")
    return 0


def _remove(args: argparse.Namespace) -> int:
    user = remove_user(_credentials(args), args.name)
    if args.json:
        print(json.dumps(public_document(user), indent=2))
    else:
        print(f"removed user {user.name}; account {user.account} and its data stay")
    return 0


def public_document(user: User) -> dict[str, Any]:
    """What machines may see of a user: all but the secret key."""
    return {
        "name": user.name,
        "account": user.account,
        "access_key": user.access_key,
        "swift_login": user.swift_login,
        "admin": user.admin,
    }


def _admin_text(user: User) -> str:
    return ", administrator" if user.admin else ""
