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

    nbd_listen: HOST:PORT for exports with TLS, beside the Unix socket; nbd_address: what clients call
    that host. nbd_certificate, nbd_key: PEM files of this server. nbd_client_ca: whose certificates
    clients must have; empty for any client who knows an export's name.
    """

    backends: tuple[str, ...] = (RING,)
    cache_bytes: int = 1024**3
    nbd_listen: str = ""
    nbd_address: str = ""
    nbd_certificate: str = ""
    nbd_key: str = ""
    nbd_client_ca: str = ""

    def backends_in(self, folder: str) -> list[Backend]:
        """In the order of the configuration. folder: where those are that name none."""
        return [_backend(text, folder) for text in self.backends]


def _backend(text: str, folder: str) -> Backend:
    name, _, path = text.partition("=")
    return Backend(name, "" if name == RING else path or os.path.join(folder, "volumes", name))
