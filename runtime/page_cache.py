"""Two calls of Linux that Python lacks: which mapped pages are in memory, and early writeback.

Called by `runtime/disk.py` alone.
"""

import ctypes
import functools
import mmap
from typing import Final

import numpy as np

SYNC_FILE_RANGE_WRITE: Final = 2
"""sync_file_range(2): start the write of dirty pages that are not being written already."""


def resident(mapped: memoryview, offset: int, length: int) -> bool:
    """True where all bytes [offset, offset + length) of a mapped file are in memory: mincore(2).

    False for bytes outside the map, and where the kernel does not say.
    """
    if length <= 0 or offset < 0 or offset + length > len(mapped):
        return False
    start = offset - offset % mmap.PAGESIZE
    pages = -(-(offset + length - start) // mmap.PAGESIZE)
    state = ctypes.create_string_buffer(pages)
    address = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    if _mincore()(address + start, offset + length - start, state) != 0:
        return False
    return state.raw.find(b"\0") < 0


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Begin to write dirty pages: sync_file_range(2). A hint; where it fails nothing is lost."""
    _sync_file_range()(fd, offset, length, SYNC_FILE_RANGE_WRITE)


@functools.cache
def _mincore() -> "ctypes._NamedFuncPointer":
    # PyDLL keeps the GIL: the call takes a microsecond, giving the GIL away may cost thousands.
    function = ctypes.PyDLL(None).mincore
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    function.restype = ctypes.c_int
    return function


@functools.cache
def _sync_file_range() -> "ctypes._NamedFuncPointer":
    function = ctypes.CDLL(None).sync_file_range
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function
