"""Ring files on a disk: whole and atomic, by version. The bytes are in `ring.format_v1`.

A version module knows its own bytes; a later one will know how to bring the one before it up.
"""

import struct

from ring import format_v1
from ring.errors import NotARing, RingFileMissing, RingTruncated, RingVersionUnknown
from ring.lookup import Ring
from runtime.disk import Disk, RealDisk

_START = struct.Struct("<8sH")
TEMPORARY_SUFFIX = ".tmp"


def encode(ring: Ring) -> bytes:
    """The bytes of a ring in the newest version."""
    return format_v1.encode(ring)


def decode(data: bytes) -> Ring:
    """The ring in `data`, of any version known.

    Raises NotARing, RingVersionUnknown, RingTruncated, RingCorrupt.
    """
    if not data.startswith(format_v1.MAGIC[: len(data)]) or not data:
        raise NotARing("the file is not a ring: it does not begin with ATOLRING")
    if len(data) < _START.size:
        raise RingTruncated(f"the ring file has only {len(data)} bytes")
    _, version = _START.unpack_from(data)
    if version != format_v1.VERSION:
        raise RingVersionUnknown(version)
    return format_v1.decode(data)


def load(path: str, disk: Disk | None = None) -> Ring:
    """Read a ring file. Raises RingFileMissing, what `decode` raises, and OSError."""
    return decode(read_bytes(path, disk or RealDisk(), "ring"))


def save(ring: Ring, path: str, disk: Disk | None = None) -> None:
    """Write a ring file; on return it is durable, at any moment the old or the new one is there.

    One writer at a time. Raises OSError; then the old file is as it was.
    """
    write_bytes(encode(ring), path, disk or RealDisk())


def read_bytes(path: str, disk: Disk, what: str) -> bytes:
    """A whole small file. Raises RingFileMissing, OSError."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        raise RingFileMissing(f"there is no {what} at {path}") from None
    try:
        return file.pread(0, file.size())
    finally:
        file.close()


def write_bytes(data: bytes, path: str, disk: Disk) -> None:
    """Replace a whole file: write beside it, sync, rename, sync the directory."""
    temporary = path + TEMPORARY_SUFFIX
    remove(temporary, disk)
    file = disk.create(temporary)
    try:
        file.append([data])
        file.sync()
        disk.rename(temporary, path)
    except OSError:
        remove(temporary, disk)
        raise
    finally:
        file.close()
    disk.sync_dir(parent(path))


def remove(path: str, disk: Disk) -> None:
    """Remove a file where there is one."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return


def parent(path: str) -> str:
    """The directory of a path."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
