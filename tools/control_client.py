"""The commands' end of a running node's control socket (`control.py`)."""

import contextlib
import http.client
import os
import socket
from typing import Any, Final, TypeVar

import msgspec

from ring import file
from ring.lookup import Ring
from runtime.errors import AtollError
from tools.control import SOCKET, NodeState, State

ANSWER_WITHIN_S: Final = 60.0

T = TypeVar("T")


class NotRunning(AtollError):
    """No node runs on this data directory."""


class ControlRefused(AtollError):
    """The node did not do it, and says why."""


class ControlClient:
    """Asks the node of a data directory. Methods raise NotRunning, ControlRefused."""

    def __init__(self, data: str) -> None:
        self._run = os.path.join(data, "run")

    @property
    def runs(self) -> bool:
        """Whether a node answers there."""
        try:
            self._connect().close()
        except OSError:
            return False
        return True

    def ring(self) -> Ring:
        """The cluster's newest ring."""
        return file.decode(self._ask("GET", "/ring"))

    def replace_ring(self, ring: Ring) -> None:
        """Make the epoch after the newest."""
        self._ask("PUT", "/ring", file.encode(ring))

    def nodes(self) -> list[NodeState]:
        """All nodes, and how they are."""
        return self._json("/nodes", list[NodeState])

    def state(self) -> State:
        """How a ring change stands."""
        return self._json("/state", State)

    def sizes(self) -> dict[str, float]:
        """Bytes per partition-replica, by placement."""
        return self._json("/sizes", dict[str, float])

    def _json(self, path: str, kind: type[T]) -> T:
        return msgspec.json.decode(self._ask("GET", path), type=kind)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = _Connection(self._connect)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                data = answer.read()
            except ConnectionRefusedError as error:
                raise NotRunning(f"no node runs on {os.path.dirname(self._run)}") from error
            except FileNotFoundError as error:
                raise NotRunning(f"no node runs on {os.path.dirname(self._run)}") from error
            except (OSError, http.client.HTTPException) as error:
                raise ControlRefused(f"the node gave no answer: {error}") from error
        if answer.status >= 300:
            raise ControlRefused(data.decode(errors="replace"))
        return data

    def _connect(self) -> socket.socket:
        """By the directory's descriptor: the path of a socket must be short. Raises OSError."""
        directory = os.open(self._run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(ANSWER_WITHIN_S)
            connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        except OSError:
            connection.close()
            raise
        finally:
            os.close(directory)
        return connection


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, connect: Any) -> None:
        super().__init__("node")
        self._connect_to = connect

    def connect(self) -> None:
        self.sock = self._connect_to()
