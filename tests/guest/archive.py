"""An initial RAM disk for a guest: files in the "newc" form of cpio that Linux unpacks at its start.

Form: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

import gzip
from typing import Final, NamedTuple

MAGIC: Final = b"070701"
TRAILER: Final = "TRAILER!!!"
FOLDER: Final = 0o040755
PROGRAM: Final = 0o100755
LINK: Final = 0o120777


class Entry(NamedTuple):
    """A file, a folder or a link (whose data are its target). mode: as stat has it."""

    name: str
    mode: int
    data: bytes = b""


def _padded(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % 4)


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = [number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0]
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def initrd(entries: list[Entry]) -> bytes:
    """The archive, compressed. Folders come before what is in them."""
    packed = [_packed(number, entry) for number, entry in enumerate([*entries, Entry(TRAILER, 0)], 1)]
    return gzip.compress(b"".join(packed), 1, mtime=0)
