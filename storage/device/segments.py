"""The journal's segment files: their names, the open ones, and who still reads them."""

import errno
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from runtime.disk import Disk, DiskFile
from storage.device.record import encode_segment_header

FILES_OPEN_MAX: Final = 128
"""Segment files that a device keeps open for reading."""

SUFFIX: Final = ".seg"


NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoRoomError(Exception):
    """The disk is full; what was begun was cut off again."""


def no_room(error: OSError) -> Exception:
    """NoRoomError for an error that room would cure, else the error itself."""
    return NoRoomError(str(error)) if error.errno in NO_ROOM else error


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08d}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The inverse of `segment_name`; None for other files."""
    stem = name.removesuffix(SUFFIX)
    if stem == name or len(stem) != 8 or not stem.isdecimal():
        return None
    return int(stem)


class SegmentFiles:
    """Read handles on segments, opened when asked for, the least used closed beyond FILES_OPEN_MAX.

    A pinned file stays open, also past `forget`: a read on a thread may still use it.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self.known: set[int] = set()
        """Segments on disk, once `look` was called."""
        self._open: OrderedDict[int, DiskFile] = OrderedDict()
        self._pins: dict[DiskFile, int] = {}
        self._sizes: dict[int, int] = {}
        self._doomed: set[DiskFile] = set()

    def path(self, number: int) -> str:
        """Where a segment lies."""
        return f"{self._directory}/{segment_name(number)}"

    def create(self, number: int, incarnation: bytes) -> DiskFile:
        """A new segment, durable by name and header. OSError; NoRoomError where the disk is full."""
        path = self.path(number)
        with suppress(FileNotFoundError):  # left by an attempt that found no room
            self._disk.unlink(path)
        try:
            file = self._disk.create(path)
            file.append([encode_segment_header(number, incarnation)])
        except OSError as error:
            raise no_room(error) from error
        file.sync()
        self._disk.sync_dir(self._directory)
        self.known.add(number)
        return file

    def get(self, number: int) -> DiskFile:
        """A readable segment. OSError."""
        file = self._open.get(number)
        if file is None:
            file = self._open[number] = self._disk.open(self.path(number))
            self._close_some()
        return file

    def size(self, number: int) -> int:
        """A segment's length in bytes; remembered for all but the newest, which grows. OSError."""
        if number == max(self.known, default=0):
            return self.get(number).size()
        size = self._sizes.get(number)
        if size is None:
            size = self._sizes[number] = self.get(number).size()
        return size

    def pin(self, number: int) -> DiskFile:
        """Like `get`; the file stays open until `unpin`."""
        file = self.get(number)
        self._open.move_to_end(number)
        self._pins[file] = self._pins.get(file, 0) + 1
        return file

    def unpin(self, file: DiskFile) -> None:
        """Let go of a pinned file."""
        left = self._pins[file] - 1
        if left:
            self._pins[file] = left
            return
        del self._pins[file]
        if file in self._doomed:
            self._doomed.discard(file)
            file.close()

    def _close_some(self) -> None:
        while len(self._open) > FILES_OPEN_MAX:
            _, file = self._open.popitem(last=False)
            self._close(file)

    def _close(self, file: DiskFile) -> None:
        if file in self._pins:
            self._doomed.add(file)
        else:
            file.close()

    def forget(self, number: int) -> None:
        """Close the handle of a segment that is removed or replaced."""
        if (file := self._open.pop(number, None)) is not None:
            self._close(file)

    def look(self) -> list[int]:
        """The segments on disk, in order, read from the directory."""
        found = (segment_number(name) for name in self._disk.list_dir(self._directory))
        self.known = {number for number in found if number is not None}
        return sorted(self.known)

    def drop(self, number: int) -> None:
        """Forget a segment whose file is being removed."""
        self.forget(number)
        self.known.discard(number)
        self._sizes.pop(number, None)

    def close(self) -> None:
        """Close all that nobody reads."""
        for number in list(self._open):
            self.forget(number)
        self.known = set()
