"""The C allocator's thresholds, set once per process before its work begins.

By default glibc gives large freed blocks back to the kernel and takes them again, zeroed, page by
page: for segments of a MiB that costs more than coding them does.
"""

import ctypes
from typing import Final

MMAP_THRESHOLD_BYTES: Final = 32 * 1024 * 1024
TRIM_THRESHOLD_BYTES: Final = 128 * 1024 * 1024
TOP_PAD_BYTES: Final = 4 * 1024 * 1024

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Keep up to TRIM_THRESHOLD_BYTES of freed memory; False where this C library has no mallopt."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    options = (
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (_M_TOP_PAD, TOP_PAD_BYTES),
    )
    return all(mallopt(option, size) == 1 for option, size in options)
