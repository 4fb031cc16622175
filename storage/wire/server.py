"""The serving end of the node protocol: this process's devices for its peers.

One `WireServer` per process listens on a Unix socket and, between machines, on TCP; each connection
is a `session.py`.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final

from runtime.clock import Clock
from runtime.private_socket import private_socket
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.node import LoneNode, NodeService
from storage.wire.handshake import HANDSHAKE_TIME_S, ServerHandshake, check_secret
from storage.wire.link import Link
from storage.wire.serve_calls import TellsStatus
from storage.wire.session import Session

__all__ = ["TellsStatus", "WireServer"]

DRAIN_TIME_S: Final = 5.0
"""How long a closing server waits for the calls under way."""

FLUSH_TIME_S: Final = 1.0
"""How long it then waits for its peers to take the answers."""


class WireServer:
    """Serves devices to peers that know the cluster secret.

    devices: looked up by id at each call, so devices may come and go. on_failure: called with
    (what, error) for a call that failed by a bug of ours. service: what the process offers beside its
    devices, and the epoch in which it takes row calls.
    """

    def __init__(
        self,
        devices: Mapping[int, DeviceClient],
        secret: bytes,
        clock: Clock,
        randomness: Randomness,
        on_failure: Callable[[str, BaseException], None],
        *,
        version: str = "",
        service: NodeService | None = None,
    ) -> None:
        self.devices = devices
        self.clock = clock
        self.version = version
        self.service: NodeService = service or LoneNode()
        self.on_failure = on_failure
        self.tasks = TaskOwner("node protocol", on_failure)
        self._secret = check_secret(secret)
        self._randomness = randomness
        self._listeners: list[asyncio.Server] = []
        self.sessions: set[Session] = set()

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket that this user alone may connect to; replaces a stale one."""
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(self._accept, sock=private_socket(path)))

    async def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on TCP, with TLS where a context is given; returns the port (a free one for 0)."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._accept,
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_TIME_S if tls else None,
        )
        self._listeners.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def _accept(self) -> Link:
        return Session(self, ServerHandshake(self._secret, self._randomness)).link

    def session_made(self, session: Session) -> None:
        """A peer has connected."""
        self.sessions.add(session)

    def session_lost(self, session: Session) -> None:
        """Its connection is gone."""
        self.sessions.discard(session)

    @property
    def unproven(self) -> int:
        """Connections whose handshake is not through."""
        return sum(not session.link.ready for session in self.sessions)

    async def close(self) -> None:
        """Stop listening, let the calls under way be answered (up to DRAIN_TIME_S), close all."""
        for listener in self._listeners:
            listener.close()
        sessions = list(self.sessions)
        for session in sessions:
            session.drain()
        if sessions:
            await asyncio.wait([session.idle for session in sessions], timeout=DRAIN_TIME_S)
        for session in sessions:
            session.link.close("the server stops")
        if sessions:
            await asyncio.wait([session.gone for session in sessions], timeout=FLUSH_TIME_S)
        for session in sessions:
            session.link.fail("the server stopped")
        await self.tasks.close()
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
