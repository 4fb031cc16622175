"""The data directory of a node: what `atoll up` finds or makes there.

<data>/ring               the ring file
<data>/secret             the cluster secret, 0600
<data>/credentials.toml   users with their keys, 0600
<data>/devices/d0 …       devices as folders, unless the configuration names others
<data>/run/               the workers' sockets; they are made anew at each start
"""

import os
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
from storage.device.identity import Identity
from storage.device.opening import format_device

SECRET_BYTES: Final = 32
NODE_NAME: Final = "node1"
DEMO_NAME: Final = "demo"


class Data(NamedTuple):
    """A node's data directory, ready to serve."""

    path: str
    ring: Ring
    secret: bytes
    credentials: str
    run: str


def ring_path(config: Config) -> str:
    """Where the ring file is."""
    return os.path.join(config.data, "ring")


def credentials_path(config: Config) -> str:
    """Where the users are."""
    return os.path.join(config.data, "credentials.toml")


def prepare(config: Config, randomness: Randomness) -> Data:
    """Find the data directory's parts, or make them. Raises AtollError, OSError."""
    os.makedirs(config.data, mode=0o700, exist_ok=True)
    run = os.path.join(config.data, "run")
    os.makedirs(run, mode=0o700, exist_ok=True)
    secret = _secret(os.path.join(config.data, "secret"), randomness)
    ring = _ring(config, randomness)
    credentials = credentials_path(config)
    try:
        _ensure_demo(credentials, randomness)
    except UserError as error:
        raise AtollError(str(error)) from error
    return Data(config.data, ring, secret, credentials, run)


def _secret(path: str, randomness: Randomness) -> bytes:
    if not os.path.exists(path):
        _write_synced(path, randomness.token(SECRET_BYTES).hex())
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError as error:
        raise AtollError(f"{path} is not a cluster secret of hex digits") from error
    if len(secret) < SECRET_BYTES:
        raise AtollError(f"{path} has fewer than {SECRET_BYTES} bytes")
    return secret


def _write_synced(path: str, line: str) -> None:
    """A file of one line that only we may read: there whole, or not at all."""
    staged = f"{path}.new"
    descriptor = os.open(staged, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(staged, path)
    RealDisk().sync_dir(os.path.dirname(path))


def _ring(config: Config, randomness: Randomness) -> Ring:
    """The ring, a new one for a fresh store, and its devices formatted by the first start."""
    path = ring_path(config)
    if not os.path.exists(path):
        save(_fresh_ring(config, randomness), path)
    ring = load(path)
    _format_once(ring, os.path.join(config.data, "formatted"))
    return ring


def _format_once(ring: Ring, marker: str) -> None:
    """Format the ring's devices, unless an earlier start did: later, an empty one was wiped.

    marker: holds the cluster's id and is written last, so a start that is cut off is gone on with.
    """
    if os.path.exists(marker):
        with open(marker, encoding="ascii") as file:
            cluster_id = file.read().strip()
        if cluster_id != ring.cluster_id:
            raise AtollError(f"{marker} names cluster {cluster_id}, the ring is of {ring.cluster_id}")
        return
    disk = RealDisk()
    for member in ring.members:
        who = Identity(member.id, ring.cluster_id, bytes.fromhex(member.incarnation))
        format_device(member.path, disk, who)
    _write_synced(marker, ring.cluster_id)


def _fresh_ring(config: Config, randomness: Randomness) -> Ring:
    paths = config.device_paths or [
        os.path.join(config.data, "devices", f"d{number}") for number in range(config.devices)
    ]
    members = [
        Device(
            id=number,
            incarnation=randomness.token(16).hex(),
            region="r1",
            zone="z1",
            node=NODE_NAME,
            address="",
            path=device_path,
            weight=1.0,
        )
        for number, device_path in enumerate(paths)
    ]
    return build(
        members,
        default_placements(len(members)),
        config.part_power,
        int.from_bytes(randomness.token(8), "big"),
        cluster_id=randomness.token(16).hex(),
    )


def _ensure_demo(path: str, randomness: Randomness) -> None:
    """A first user; later only the environment brings it back or changes its keys."""
    access_key = os.environ.get("ATOLL_ACCESS_KEY")
    secret_key = os.environ.get("ATOLL_SECRET_KEY")
    existing = demo_user(path)  # a file that can't be read is said before anything serves
    if os.path.exists(path) and not (access_key or secret_key):
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
