"""What an error of the operating system means for a blob, and for the device."""

import errno
from typing import Final

from storage.contract import DeviceFault
from storage.types import Fault

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNREADABLE: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})
_FATAL: Final = _UNREADABLE | {errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN}


def write_fault(error: OSError) -> DeviceFault:
    """Of a write, sync, rename or removal: FULL, else OFFLINE."""
    if error.errno in _FULL:
        return DeviceFault(Fault.FULL, error.strerror or "")
    return DeviceFault(Fault.OFFLINE, str(error))


def read_fault(error: OSError) -> DeviceFault:
    """Of an open or read: ABSENT, CORRUPT where the medium can't give the bytes, else OFFLINE."""
    if isinstance(error, FileNotFoundError):
        return DeviceFault(Fault.ABSENT, "no such file")
    if error.errno in _UNREADABLE:
        return DeviceFault(Fault.CORRUPT, f"unreadable: {error.strerror}")
    return DeviceFault(Fault.OFFLINE, str(error))


def is_fatal(error: BaseException | None) -> bool:
    """True for an error of a write or sync after which the device must not serve: what was written
    before may be lost. A full device or a lack of descriptors is none."""
    return isinstance(error, OSError) and error.errno in _FATAL
