"""The ring that a node has adopted, as a file: <data>/ring, shared by all of its workers.

A worker writes a ring before it uses its epoch. The file never goes back: the first worker that adopts
a ring writes it, and one that comes later finds it there.
"""

import fcntl
import os

from ring.errors import RingFileMissing
from ring.file import decode, read_bytes, write_bytes
from ring.lookup import Ring
from runtime.disk import Disk


def keep_ring(data: bytes, epoch: int, path: str, disk: Disk) -> None:
    """See to it that the file durably holds this ring, or one of a later epoch. Blocks. OSError."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        kept = kept_ring(path, disk)
        if kept is None or kept.epoch < epoch:
            write_bytes(data, path, disk)
    finally:
        os.close(fd)


def kept_ring(path: str, disk: Disk) -> Ring | None:
    """The ring in the file, None where there is none. Raises RingFileError, OSError."""
    try:
        return decode(read_bytes(path, disk, "ring"))
    except RingFileMissing:
        return None
