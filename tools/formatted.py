"""Which devices this node has formatted: one whose directory is empty by then was wiped.

<data>/formatted: the cluster's id, then the incarnation of each device that was made, a line each.
Only a device that is new in the ring is formatted; a known one with an empty directory is not mounted,
or was wiped, and stays offline.
"""

import fcntl
import os
from collections.abc import Iterable
from typing import Final

from ring.types import Device as Member
from runtime.disk import Disk, RealDisk
from runtime.errors import AtollError
from storage.device.identity import Identity
from storage.device.opening import format_device

LOCK_SUFFIX: Final = ".lock"


def format_new(members: Iterable[Member], cluster_id: str, marker: str, disk: Disk) -> None:
    """Format those of `members` that were never formatted. Blocks.

    marker: the file. A start that is cut off goes on where it was. Raises AtollError, OSError.
    """
    with _Locked(marker + LOCK_SUFFIX):
        known = _read(marker, cluster_id)
        for member in members:
            if member.incarnation not in known:
                who = Identity(member.id, cluster_id, bytes.fromhex(member.incarnation))
                format_device(member.path, disk, who)
                known.append(member.incarnation)
                write_synced(marker, "\n".join((cluster_id, *known)))


def bring_up(marker: str, cluster_id: str, members: Iterable[Member]) -> None:
    """Write down the devices that a file of the first release stands for: it named the cluster alone.

    Raises AtollError where the file is another cluster's.
    """
    if not _read(marker, cluster_id):
        write_synced(marker, "\n".join((cluster_id, *(member.incarnation for member in members))))


def _read(marker: str, cluster_id: str) -> list[str]:
    try:
        with open(marker, encoding="ascii") as file:
            found, *known = file.read().split()
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise AtollError(f"{marker} can't be read") from error
    if found != cluster_id:
        raise AtollError(f"{marker} names cluster {found}, the ring is of {cluster_id}")
    return known


class _Locked:
    """A lock file: the node's workers format their devices at the same time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def write_synced(path: str, text: str) -> None:
    """A small file that only we may read: there whole, or not at all."""
    staged = f"{path}.new"
    descriptor = os.open(staged, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(staged, path)
    RealDisk().sync_dir(os.path.dirname(path))
