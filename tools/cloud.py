"""`atoll cloud`: the add-on's first user, catalog and token keys; and how `atoll up --cloud` runs it.

`init` is run by `atoll up --cloud` by itself. It makes what is missing and changes nothing else, so it
may be run again at any time. The administrator's password is made up, or taken from
ATOLL_ADMIN_PASSWORD; it is printed once, when it is set, and kept in the files that the `openstack`
command reads.

Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from runtime.config import Config, load
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from tools.formatted import write_synced
from tools.keystone import service_password

ADMIN_PASSWORD_VARIABLE: Final = "ATOLL_ADMIN_PASSWORD"  # noqa: S105 - the name of one, not a secret
CLOUD_NAME: Final = "atoll"

log = logging.getLogger("atoll")


def add_parser(subparsers: Any) -> None:
    """Register `cloud` and its subcommands."""
    parser = subparsers.add_parser(
        "cloud",
        help="the compute add-on: its first user, its keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="cloud_command", required=True, metavar="COMMAND")
    for name, perform, text in (
        ("init", _init, "make the first domain, project, roles, administrator and catalog"),
        ("rotate-keys", _rotate, "make a new key for tokens; those of the last two still count"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", metavar="FILE", help="configuration file")
        command.add_argument("--data", metavar="DIR", help="data directory (atoll-data)")
        command.set_defaults(func=perform)


def check_installed() -> None:
    """Raises AtollError where the add-on or its libraries are missing."""
    try:
        import compute.cloud  # noqa: F401
    except ImportError as error:
        raise AtollError(
            f"the compute add-on is not installed ({error}): pip install 'atoll[cloud]'"
        ) from error


def openrc_path(config: Config) -> str:
    """What a shell reads before `openstack`."""
    return os.path.join(config.data, "openrc")


def clouds_path(config: Config) -> str:
    """What `openstack --os-cloud atoll` reads, named by OS_CLIENT_CONFIG_FILE."""
    return os.path.join(config.data, "clouds.yaml")


def cloud_config(config: Config, secret: bytes) -> Any:
    """The add-on's part of the configuration."""
    import msgspec

    from compute.cloud import CloudConfig
    from compute.identity.settings import Settings
    from compute.image.settings import Settings as ImageSettings
    from compute.volume.settings import Settings as VolumeSettings

    def chosen(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): tuple(value) if isinstance(value, list) else value
            for name, value in msgspec.structs.asdict(config).items()
            if name.startswith(prefix)
        }

    return CloudConfig(
        folder=os.path.join(config.data, "cloud"),
        secret=secret,
        host=config.cloud_listen,
        port=config.cloud_port,
        endpoint=config.cloud_url,
        store=config.storage_url or config.endpoint,
        database=config.cloud_database,
        drain_s=config.drain_s,
        settings=Settings(region=config.cloud_region, **chosen("identity_")),
        node=config.node,
        image=ImageSettings(**chosen("image_")),
        volume=VolumeSettings(**chosen("volume_")),
        backup_encrypted=config.backup_encrypted,
    )


def initialise(config: Config, secret: bytes) -> str | None:
    """Bootstrap; the administrator's password if it was set now. Raises AtollError."""
    from compute.cloud import initialise as bootstrap
    from compute.cloud import new_password, opened

    cloud = cloud_config(config, secret)
    wanted = os.environ.get(ADMIN_PASSWORD_VARIABLE) or new_password(SystemRandomness())
    with opened(cloud) as identity:
        passwords = {"admin": wanted, "atoll": service_password(secret)}
        password: str | None = bootstrap(cloud, identity, passwords).admin
    if password is not None:
        _write_client_files(config, password)
    return password


def _write_client_files(config: Config, password: str) -> None:
    """So that the `openstack` command works at once; only we may read them."""
    values = {
        "auth_url": f"{config.cloud_url}/identity/v3",
        "username": "admin",
        "password": password,
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    exports = [f"export OS_{name.upper()}={value}" for name, value in values.items()]
    exports += [f"export OS_REGION_NAME={config.cloud_region}", "export OS_IDENTITY_API_VERSION=3"]
    write_synced(openrc_path(config), "\n".join(exports))
    lines = [f"      {name}: {_quoted(value)}" for name, value in values.items()]
    text = [
        "clouds:",
        f"  {CLOUD_NAME}:",
        "    auth:",
        *lines,
        f"    region_name: {_quoted(config.cloud_region)}",
        "    identity_api_version: 3",
    ]
    write_synced(clouds_path(config), "\n".join(text))


def _quoted(value: str) -> str:
    """As YAML has strings between single quotes."""
    return "'" + value.replace("'", "''") + "'"


def run_cloud(config: Config, secret: bytes, ready: Callable[[], None]) -> int:
    """The add-on's process, whole; the exit status. Bootstrapped before."""
    import uvloop

    from compute.cloud import opened, run

    cloud = cloud_config(config, secret)
    try:
        with opened(cloud) as identity:
            status: int = uvloop.run(run(cloud, identity, ready))
            return status
    except (AtollError, OSError) as error:
        log.error("the compute add-on: %s", error)
        return 1


def banner(config: Config, password: str | None) -> list[str]:
    """What `atoll up` says of it."""
    lines = [f"The compute add-on serves identity at {config.cloud_url}/identity/v3"]
    if password is not None:
        lines.append(f"  admin's password  {password}  (said once)")
    if os.path.exists(openrc_path(config)):
        lines.append(f"  source {openrc_path(config)} && openstack token issue")
    return lines


def _prepared(args: argparse.Namespace) -> tuple[Config, bytes]:
    from tools.data import prepare

    check_installed()
    config = load(args.config, data=os.path.abspath(args.data) if args.data else None)
    return config, prepare(config, SystemRandomness()).secret


def _init(args: argparse.Namespace) -> int:
    config, secret = _prepared(args)
    password = initialise(config, secret)
    if password is None:
        print("everything was there already")
    else:
        print(f"admin's password is {password}, said this once and kept in {openrc_path(config)}")
    return 0


def _rotate(args: argparse.Namespace) -> int:
    from compute.cloud import opened

    config, secret = _prepared(args)
    with opened(cloud_config(config, secret)) as identity:
        number = identity.keys.rotate(identity.randomness, identity.now_us())
    print(f"tokens are made with key {number} now")
    return 0
