"""What an operator may choose about volumes."""

import os
from typing import Final, NamedTuple

import msgspec

RING: Final = "ring"
"""The backend whose volumes live in the object store."""


class Backend(NamedTuple):
    """Where volumes are. folder: of files; empty for `ring`."""

    name: str
    folder: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """backends: `ring`, or `NAME` or `NAME=FOLDER` for files in a folder.

    cache_bytes: room on this host's disk for what was read of volumes of `ring`.
    """

    backends: tuple[str, ...] = (RING,)
    cache_bytes: int = 1024**3

    def backends_in(self, folder: str) -> list[Backend]:
        """In the order of the configuration. folder: where those are that name none."""
        return [_backend(text, folder) for text in self.backends]


def _backend(text: str, folder: str) -> Backend:
    name, _, path = text.partition("=")
    return Backend(name, "" if name == RING else path or os.path.join(folder, "volumes", name))
