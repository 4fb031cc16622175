"""The data directory of a node: what `atoll up` finds or makes there.

<data>/ring               the adopted ring
<data>/keeper             on a keeper node, the rows that it keeps: the ring first
<data>/formatted          which devices were formatted
<data>/paused/            the repair workers that an operator has paused
<data>/secret             the cluster secret, 0600, unless the configuration names another file
<data>/credentials.toml   users with their keys, 0600
<data>/devices/d0 …       devices as folders, unless the configuration names others
<data>/run/               the workers' sockets; they are made anew at each start
"""

import os
import stat
from typing import Final, NamedTuple

from proxy.auth.errors import UserError
from proxy.auth.user_file import add_user, read_users, remove_user
from proxy.auth.users import User, new_user
from ring.builder import build
from ring.file import load, save
from ring.lookup import Ring
from ring.types import Device, default_placements
from runtime.config import Config
from runtime.disk import RealDisk
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.keeper import KeeperDevice
from tools.formatted import bring_up, format_new, write_synced
from tools.peers import is_own

SECRET_BYTES: Final = 32
DEMO_NAME: Final = "demo"


class Data(NamedTuple):
    """A node's data directory, ready to serve. ring: None on a new node of a cluster."""

    path: str
    ring: Ring | None
    secret: bytes
    credentials: str
    run: str

    @property
    def ring_file(self) -> str:
        """Where the adopted ring is kept."""
        return os.path.join(self.path, "ring")

    @property
    def keeper(self) -> str:
        """Where the keeper's rows are, on a node that is one."""
        return os.path.join(self.path, "keeper")

    @property
    def formatted(self) -> str:
        """Where it is written down which devices were formatted."""
        return os.path.join(self.path, "formatted")

    @property
    def paused(self) -> str:
        """Where it is written down which repair workers are paused."""
        return os.path.join(self.path, "paused")


def ring_path(config: Config) -> str:
    """Where the ring file is."""
    return os.path.join(config.data, "ring")


def credentials_path(config: Config) -> str:
    """Where the users are."""
    return config.users_file or os.path.join(config.data, "credentials.toml")


def prepare(config: Config, randomness: Randomness) -> Data:
    """Find the data directory's parts, or make them. Raises AtollError, OSError."""
    os.makedirs(config.data, mode=0o700, exist_ok=True)
    run = os.path.join(config.data, "run")
    os.makedirs(run, mode=0o700, exist_ok=True)
    secret = _secret(config, randomness)
    data = Data(config.data, _ring(config, randomness), secret, credentials_path(config), run)
    _ensure_keeper(config, data)
    _ensure_formatted(config, data)
    try:
        _ensure_users(config, data.credentials, randomness)
    except UserError as error:
        raise AtollError(str(error)) from error
    return data


def _secret(config: Config, randomness: Randomness) -> bytes:
    path = config.cluster_secret_file or os.path.join(config.data, "secret")
    if not config.cluster_secret_file and not os.path.exists(path):
        write_synced(path, randomness.token(SECRET_BYTES).hex())
    try:
        with open(path, encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().strip()
    except OSError as error:
        raise AtollError(f"the cluster secret {path}: {error.strerror}") from error
    try:
        secret = bytes.fromhex(text)
    except ValueError as error:
        raise AtollError(f"{path} is not a cluster secret of hex digits") from error
    if len(secret) < SECRET_BYTES:
        raise AtollError(f"{path} has fewer than {SECRET_BYTES} bytes")
    if mode & 0o077:
        raise AtollError(f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    return secret


def _ring(config: Config, randomness: Randomness) -> Ring | None:
    """The ring; a new one for a fresh store by itself, none yet for a fresh node of a cluster."""
    path = ring_path(config)
    if not os.path.exists(path):
        if config.cluster_listen:
            return None
        save(_fresh_ring(config, randomness), path)
    return load(path)


def _ensure_keeper(config: Config, data: Data) -> None:
    """A keeper's file. A new one among other keepers asks them before it counts as new."""
    if config.keeps and not os.path.exists(data.keeper):
        KeeperDevice.create(data.keeper, RealDisk())


def _ensure_formatted(config: Config, data: Data) -> None:
    """Format the devices of the first ring that this node has. Later, an empty one was wiped."""
    if data.ring is None:
        return
    own = [member for member in data.ring.members if is_own(config, member)]
    if os.path.exists(data.formatted):
        bring_up(data.formatted, data.ring.cluster_id, own)
    else:
        format_new(own, data.ring.cluster_id, data.formatted, RealDisk())


def device_paths(config: Config) -> list[str]:
    """The devices that the configuration names, or folders in the data directory."""
    folders = os.path.join(config.data, "devices")
    return list(config.device_paths) or [
        os.path.join(folders, f"d{number}") for number in range(config.devices)
    ]


def _fresh_ring(config: Config, randomness: Randomness) -> Ring:
    members = [
        Device(
            id=number,
            incarnation=randomness.token(16).hex(),
            region=config.node_region,
            zone=config.zone,
            node=config.node,
            address="",
            path=device_path,
            weight=1.0,
        )
        for number, device_path in enumerate(device_paths(config))
    ]
    return build(
        members,
        default_placements(len(members)),
        config.part_power,
        int.from_bytes(randomness.token(8), "big"),
        cluster_id=randomness.token(16).hex(),
    )


def _ensure_users(config: Config, path: str, randomness: Randomness) -> None:
    """A first user; later only the environment brings it back or changes its keys.

    A node of a cluster makes nobody up: the others would not know them.
    """
    access_key = os.environ.get("ATOLL_ACCESS_KEY")
    secret_key = os.environ.get("ATOLL_SECRET_KEY")
    existing = demo_user(path)  # a file that can't be read is said before anything serves
    if not (access_key or secret_key):
        if os.path.exists(path):
            return
        if config.cluster_listen:
            write_synced(path, "version = 1")
            return
    user = new_user(
        DEMO_NAME,
        randomness,
        access_key=access_key or (existing.access_key if existing else None),
        secret_key=secret_key or (existing.secret_key if existing else None),
    )
    if existing == user:
        return
    if existing is not None:
        remove_user(path, DEMO_NAME)
    add_user(path, user)


def demo_user(path: str) -> User | None:
    """The first user, None where it was removed or there are no users yet."""
    if not os.path.exists(path):
        return None
    return read_users(path)[0].by_name.get(DEMO_NAME)
