"""Sparse files: where their data are, holes, copies. All of it blocks, so it runs on threads."""

import ctypes
import errno
import fcntl
import os
from typing import Final

from compute.volume.drivers.contract import Extent

FICLONE: Final = 0x40049409
KEEP_SIZE: Final = 1
PUNCH_HOLE: Final = 2
ZERO_BYTES: Final = 1024 * 1024
_NOT_HERE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)

_libc: Final = ctypes.CDLL(None, use_errno=True)


def read_at(fd: int, offset: int, length: int) -> bytes:
    """The bytes; fewer only at the file's end."""
    parts = []
    while length and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


def write_at(fd: int, offset: int, data: bytes | memoryview) -> None:
    """All bytes. Raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset, view = offset + written, view[written:]


def zero_at(fd: int, offset: int, length: int) -> None:
    """A hole; zeroes where the file system has none."""
    done = _libc.fallocate(
        fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)
    )
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _NOT_HERE:
        raise OSError(code, os.strerror(code))
    for start in range(offset, offset + length, ZERO_BYTES):
        write_at(fd, start, bytes(min(ZERO_BYTES, offset + length - start)))


def extents(fd: int, offset: int, length: int) -> list[Extent]:
    """Data and holes of a range, in order, without gaps."""
    found: list[Extent] = []
    end = offset + length
    while offset < end:
        try:
            data = min(os.lseek(fd, offset, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        if data > offset:
            found.append(Extent(offset, data - offset, False))
        if data < end:
            hole = min(os.lseek(fd, data, os.SEEK_HOLE), end)
            found.append(Extent(data, hole - data, True))
            data = hole
        offset = data
    return found


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Copy what a range of `source` holds into the same range of `target`, which is zeroes there."""
    for extent in extents(source, offset, length):
        if extent.data:
            write_at(target, extent.offset, read_at(source, extent.offset, extent.length))


def shared(source: int, target: int) -> bool:
    """Let `target` share the blocks of `source`; False where the file system can't."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True


def sync_folder(path: str) -> None:
    """Make names durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
