"""Where a device keeps its blob files: `blobs/ab/<id>.<n>`, `staging/` and `quarantine/`.

Names come back from other processes and from directories: only what this module would have written
itself is taken for a blob's name.
"""

import os
import re
from typing import Final

from storage.device.blob_format import NUMBER_MAX
from storage.types import BlobName

_FILE_NAME: Final = re.compile(r"([0-9a-f]{32})\.(0|[1-9][0-9]{0,4})", re.ASCII)


def file_name(name: BlobName) -> str:
    """`<hex id>.<number>`."""
    return f"{name.id.hex()}.{name.number}"


def parse_file_name(text: str) -> BlobName:
    """The blob of a file's name. Raises ValueError for any other text."""
    match = _FILE_NAME.fullmatch(text)
    if match is None or int(match[2]) > NUMBER_MAX:
        raise ValueError(f"not the name of a blob file: {text!r}")
    return BlobName(bytes.fromhex(match[1]), int(match[2]))


class BlobPaths:
    """The directories and files of one device. Text only: touches no disk."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.blobs = os.path.join(root, "blobs")
        self.staging = os.path.join(root, "staging")
        self.quarantine = os.path.join(root, "quarantine")

    def shelf(self, first_byte: int) -> str:
        """The directory of all blobs whose id begins with this byte."""
        return os.path.join(self.blobs, f"{first_byte:02x}")

    def blob(self, name: BlobName) -> str:
        """A committed blob's file."""
        return os.path.join(self.shelf(name.id[0]), file_name(name))

    def staged(self, name: BlobName) -> str:
        """The file of a blob that is being written."""
        return os.path.join(self.staging, file_name(name))

    def set_aside(self, name: BlobName, now_ns: int) -> str:
        """A new place in the quarantine; the time keeps an earlier copy of the same blob."""
        return os.path.join(self.quarantine, f"{file_name(name)}.{now_ns}")
