"""Unix sockets that nobody else may connect to."""

import contextlib
import os
import socket
from typing import Final

_USER_ALONE: Final = 0o177
"""As a umask: leaves 0600."""


def private_socket(path: str) -> socket.socket:
    """A socket bound at `path`, mode 0600 from its first moment; replaces a stale one. OSError.

    A chmod after the bind would leave others a moment. The umask is the process's: a file that a thread
    makes just then is the user's alone as well.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_USER_ALONE)
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound
