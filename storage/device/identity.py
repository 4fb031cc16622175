"""Who a device is: device.toml, and the lock that keeps a second process away."""

import tomllib
from typing import Final, NamedTuple

from xxhash import xxh3_64_hexdigest

from runtime.disk import Disk
from runtime.errors import AtollError

FORMAT: Final = 1
FILE_NAME: Final = "device.toml"
LOCK_NAME: Final = "lock"
INCARNATION_BYTES: Final = 16


class DeviceRefused(AtollError):
    """The directory is not the device that was asked for; the text says why."""


class DeviceInUse(DeviceRefused):
    """Another process has the device."""


class Identity(NamedTuple):
    """What device.toml says.

    incarnation: drawn when the directory was first made a device; a wiped device gets another one.
    """

    device_id: int
    cluster: str
    incarnation: bytes


def render(identity: Identity) -> bytes:
    """device.toml's text."""
    body = (
        f"format = {FORMAT}\n"
        f"id = {identity.device_id}\n"
        f'cluster = "{identity.cluster}"\n'
        f'incarnation = "{identity.incarnation.hex()}"\n'
    )
    return f'{body}checksum = "{xxh3_64_hexdigest(body.encode())}"\n'.encode()


def parse(text: bytes, path: str) -> Identity:
    """The inverse of `render`; DeviceRefused for anything else."""
    try:
        table = tomllib.loads(text.decode())
        found = Identity(int(table["id"]), str(table["cluster"]), bytes.fromhex(table["incarnation"]))
        version = table["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceRefused(f"{path} can't be read: {error}") from error
    if version != FORMAT:
        raise DeviceRefused(f"{path} has format {version}; this program reads format {FORMAT}")
    if render(found) != text:
        raise DeviceRefused(f"{path} does not match its checksum")
    return found


def load(disk: Disk, path: str) -> Identity | None:
    """The identity of the device in the directory `path`; None in a directory that is none yet."""
    names = disk.list_dir(path)
    if FILE_NAME not in names:
        if "journal" in names and disk.list_dir(f"{path}/journal"):
            raise DeviceRefused(f"{path} holds a journal but no {FILE_NAME}")
        return None
    file = disk.open(f"{path}/{FILE_NAME}")
    try:
        return parse(file.pread(0, file.size()), f"{path}/{FILE_NAME}")
    finally:
        file.close()


def create(disk: Disk, path: str, identity: Identity) -> None:
    """Write device.toml, durably."""
    if not identity.cluster.isprintable() or '"' in identity.cluster or "\\" in identity.cluster:
        raise ValueError("a cluster id is printable, without quotes and backslashes")
    fresh = f"{path}/{FILE_NAME}.new"
    if f"{FILE_NAME}.new" in disk.list_dir(path):
        disk.unlink(fresh)
    file = disk.create(fresh)
    try:
        file.append([render(identity)])
        file.sync()
    finally:
        file.close()
    disk.rename(fresh, f"{path}/{FILE_NAME}")
    disk.sync_dir(path)


def check(found: Identity, device_id: int, cluster: str, path: str) -> None:
    """DeviceRefused where the device is another one, or another cluster's."""
    if found.cluster != cluster:
        raise DeviceRefused(f"{path} belongs to cluster {found.cluster}, not to {cluster}")
    if found.device_id != device_id:
        raise DeviceRefused(f"{path} is device {found.device_id}, not {device_id}")
