"""The ring that a node has adopted, as a file: <data>/ring, shared by all of its workers.

A worker writes a ring before it uses its epoch. The file never goes back: the first worker that adopts
a ring writes it, and one that comes later finds it there.
"""

import fcntl
import os
from typing import Final

from ring.errors import RingFileMissing
from ring.file import decode, read_bytes, write_bytes
from ring.lookup import Ring
from runtime.disk import Disk

NEWCOMER_FILE: Final = "newcomer"
"""In a device's directory: the epoch in which it last began as a newcomer, in decimal digits."""

LOCK_SUFFIX: Final = ".lock"
"""The workers' own lock: `atoll ring` locks the directory while an operator's command runs."""


def keep_ring(data: bytes, epoch: int, path: str, disk: Disk) -> None:
    """See to it that the file durably holds this ring, or one of a later epoch. Blocks. OSError."""
    fd = os.open(path + LOCK_SUFFIX, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
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


def begun_in(path: str, disk: Disk) -> int:
    """The epoch in a newcomer file, 0 where there is none. Blocks. OSError."""
    try:
        text = read_bytes(path, disk, "newcomer file")
    except RingFileMissing:
        return 0
    return int(text) if text.isdigit() else 0


def note_begun(path: str, epoch: int, disk: Disk) -> None:
    """Durably write a newcomer file. Blocks. OSError."""
    write_bytes(b"%d" % epoch, path, disk)
