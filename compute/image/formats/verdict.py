"""What an inspection ends with."""

from typing import NamedTuple


class Mismatch(Exception):
    """The bytes are not what they are said to be, or ask a reader to open something else.

    reason: for the client; it quotes nothing from the image that could be of any length.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Found(NamedTuple):
    """What an image is. virtual_size_bytes: of the disk within, None where that makes no sense.

    content: more than the disk format says: "gpt", "mbr", "luks", "iso", "raw", "ova", or the format.
    """

    disk_format: str
    virtual_size_bytes: int | None
    content: str


class Disk(NamedTuple):
    """What a format's reader ends with. virtual_size_bytes: as its header says."""

    virtual_size_bytes: int
