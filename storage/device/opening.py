"""The first things done to a device's directory: who it is, where its index is, and what sets a damaged
index aside.

An index that can't be read is rebuilt from the journal. One that lies can end the process inside LMDB:
so starts that did not last are counted, and from STARTS_SUSPECT on the index is verified before it is
used.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from runtime.disk import Disk
from runtime.randomness import Randomness
from storage.device import identity
from storage.device.held import IndexDamagedError
from storage.device.index_contract import Index, OpenIndex
from storage.device.record import SEGMENT_HEADER_BYTES
from storage.device.segments import SegmentFiles, segment_name

STARTS: Final = "starts"
"""A file with one byte for each start since the last that lasted."""

STARTS_SUSPECT: Final = 3

VerifyIndex = Callable[[str], str]
"""Looks through an index that is not open; what is wrong with it, or empty."""

_DIRECTORIES: Final = ("journal", "index", "quarantine")


def identify(
    path: str,
    disk: Disk,
    randomness: Randomness,
    device_id: int,
    cluster: str,
    incarnation: bytes = b"",
) -> identity.Identity:
    """The device's identity, checked; a new one in a new directory.

    incarnation: of the device that the ring knows. Then nothing new is made: an empty directory is a
    device that was wiped or is not mounted, and it must not vote with what it has forgotten.
    """
    if incarnation and identity.FILE_NAME not in disk.list_dir(path):
        raise identity.DeviceRefused(
            f"{path} is empty: the device is not mounted, or was wiped. It may have acknowledged "
            "what it no longer holds, so it does not take part"
        )
    _clear_unfinished(path, disk)
    found = identity.load(disk, path)
    for name in _DIRECTORIES:
        disk.make_dirs(f"{path}/{name}")
    if found is not None:
        identity.check(found, device_id, cluster, path)
        if incarnation and found.incarnation != incarnation:
            raise identity.DeviceRefused(f"{path} was formatted anew since the ring knows it")
        return found
    fresh = identity.Identity(device_id, cluster, randomness.token(identity.INCARNATION_BYTES))
    return _make(path, disk, fresh)


def format_device(path: str, disk: Disk, who: identity.Identity) -> None:
    """Make an empty directory, or none yet, the device `who`. Idempotent: it may be that already.

    Raises DeviceRefused where it is another device.
    """
    disk.make_dirs(path)
    _clear_unfinished(path, disk)
    found = identity.load(disk, path)
    if found is not None and found != who:
        raise identity.DeviceRefused(f"{path} is another device, of this store or another one")
    for name in _DIRECTORIES:
        disk.make_dirs(f"{path}/{name}")
    if found is None:
        _make(path, disk, who)


def _make(path: str, disk: Disk, who: identity.Identity) -> identity.Identity:
    """Make the directory a device; device.toml comes last."""
    SegmentFiles(disk, f"{path}/journal").create(1, who.incarnation).close()
    disk.sync_dir(path)
    identity.create(disk, path, who)
    return who


def _clear_unfinished(path: str, disk: Disk) -> None:
    """Take away the first segment that a start which did not get to device.toml left."""
    names = disk.list_dir(path)
    if identity.FILE_NAME in names or "journal" not in names:
        return
    first = segment_name(1)
    if disk.list_dir(f"{path}/journal") == [first]:
        file = disk.open(f"{path}/journal/{first}")
        size = file.size()
        file.close()
        if size <= SEGMENT_HEADER_BYTES:
            disk.unlink(f"{path}/journal/{first}")


def open_sound_index(
    path: str, disk: Disk, open_index: OpenIndex, verify_index: VerifyIndex
) -> tuple[Index, str]:
    """The index, and a remark where it is a new one because the old one is damaged. OSError."""
    damage = _known_damage(path, disk, verify_index)
    if not damage:
        try:
            return open_durably(path, disk, open_index), ""
        except IndexDamagedError as error:
            damage = str(error)
    set_index_aside(path, disk)
    return open_durably(path, disk, open_index), damage


def open_durably(path: str, disk: Disk, open_index: OpenIndex) -> Index:
    """The device's index, the name of its file durable, too. IndexDamagedError, OSError.

    An index that a power cut took away would be rebuilt, but without what was forgotten since.
    """
    index = open_index(f"{path}/index")
    disk.sync_dir(f"{path}/index")
    return index


def _known_damage(path: str, disk: Disk, verify_index: VerifyIndex) -> str:
    if _count_start(path, disk) >= STARTS_SUSPECT:
        return verify_index(f"{path}/index")
    return ""


def _count_start(path: str, disk: Disk) -> int:
    """How many starts, this one included, there were since the last that lasted.

    0 where it can't be counted: a full disk is no reason not to start.
    """
    name = f"{path}/{STARTS}"
    try:
        known = STARTS in disk.list_dir(path)
        file = disk.open(name, writable=True) if known else disk.create(name)
    except OSError:
        return 0
    with suppress(OSError):
        file.append([b"."])
    count = file.size()
    file.close()
    return count


def started_well(path: str, disk: Disk) -> None:
    """This start lasted, or ended in order. OSError."""
    with suppress(FileNotFoundError):
        disk.unlink(f"{path}/{STARTS}")


def set_index_aside(path: str, disk: Disk) -> None:
    """Move the index into the quarantine; an empty directory takes its place. OSError."""
    taken = set(disk.list_dir(f"{path}/quarantine"))
    number = next(n for n in range(len(taken) + 1) if f"index-{n}" not in taken)
    disk.rename(f"{path}/index", f"{path}/quarantine/index-{number}")
    disk.make_dirs(f"{path}/index")
    disk.sync_dir(path)
