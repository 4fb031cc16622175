"""A new file written past the page cache (O_DIRECT), for bytes that nobody is going to read soon.

Bytes are gathered in an aligned buffer and go to the device from there; the end of the file, which no
block boundary cuts, goes through the page cache. Called by `runtime/disk.py` alone.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Final

Buffer = bytes | bytearray | memoryview

BUFFER_BYTES: Final = 1024 * 1024
"""How much goes to the device at a time; a multiple of every block size."""

BLOCK_BYTES: Final = 4096
"""Direct writes are of whole blocks of this size."""

IDLE_BUFFERS_MAX: Final = 16
"""Buffers kept for the next file: fresh ones cost a page fault for each of their pages."""


class AlignedBuffers:
    """Page-aligned buffers of BUFFER_BYTES, taken and given back by any thread."""

    def __init__(self) -> None:
        self._idle: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer for one owner."""
        try:
            return self._idle.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, BUFFER_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        """The owner is done with it."""
        if len(self._idle) < IDLE_BUFFERS_MAX:
            self._idle.append(buffer)


class DirectWriter:
    """Appends to an open descriptor past the page cache. Every method blocks and raises OSError."""

    def __init__(self, fd: int, buffers: AlignedBuffers) -> None:
        """fd: open with O_DIRECT, empty; stays the caller's."""
        self._fd = fd
        self._buffers = buffers
        self._buffer: memoryview | None = buffers.take()
        self._filled = 0

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Take all of `pieces`; whole buffers are written at once, the rest by `finish`."""
        for piece in pieces:
            self._append(memoryview(piece).cast("B"))

    def _append(self, piece: memoryview) -> None:
        buffer = self._buffer
        if buffer is None:  # finished: what comes now goes through the page cache
            _write_all(self._fd, piece)
            return
        while piece:
            step = min(len(piece), BUFFER_BYTES - self._filled)
            buffer[self._filled : self._filled + step] = piece[:step]
            self._filled += step
            piece = piece[step:]
            if self._filled == BUFFER_BYTES:
                _write_all(self._fd, buffer)
                self._filled = 0

    def finish(self) -> None:
        """Write what is left; the file then has all its bytes. Idempotent."""
        buffer = self._buffer
        if buffer is None:
            return
        whole = self._filled - self._filled % BLOCK_BYTES
        _write_all(self._fd, buffer[:whole])
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        _write_all(self._fd, buffer[whole : self._filled])
        self.release()

    def release(self) -> None:
        """Give the buffer back, whatever is in it. Idempotent."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._filled = 0
            self._buffers.give_back(buffer)

    @property
    def pending_bytes(self) -> int:
        """Taken and not yet written."""
        return self._filled


def open_direct(path: str, flags: int, mode: int) -> int | None:
    """A new file's descriptor with O_DIRECT; None where its file system has no such thing."""
    try:
        return os.open(path, flags | os.O_DIRECT, mode)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Some file systems make the file before they refuse the flag.
        if flags & os.O_EXCL and os.path.exists(path):
            os.unlink(path)
        return None


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        written = os.write(fd, data)
        if written == 0:
            raise OSError(errno.EIO, "write made no progress")
        data = data[written:]
