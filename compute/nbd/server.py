"""The NBD server of a process: exports come and go, on a Unix socket or on TCP with TLS."""

import asyncio
import contextlib
import functools
import logging
import os
import ssl
from typing import Any, Final

from compute.nbd.connection import Connection
from compute.nbd.exports import Export, ExportedDisk
from compute.nbd.negotiation import Negotiation
from compute.nbd.protocol import Gone

HANDSHAKE_WITHIN_S: Final = 30.0
CONNECTIONS_MAX: Final = 1024
BUFFER_BYTES: Final = 1024 * 1024

log = logging.getLogger("atoll.cloud.nbd")


class NbdServer:
    """Serves disks by the names of their exports, which only those who may use them know."""

    def __init__(self) -> None:
        self._exports: dict[str, Export] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._address: dict[str, Any] = {}
        self._path = ""

    async def listen_unix(self, path: str) -> None:
        """Only this user's programs may connect."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        mask = os.umask(0o177)
        try:
            connected = functools.partial(self._connected, None)
            made = await asyncio.start_unix_server(connected, path, limit=BUFFER_BYTES)
        finally:
            os.umask(mask)
        self._servers.append(made)
        self._path = path
        self._address |= {"unix": path}

    async def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext, *, address: str = "") -> int:
        """With TLS that clients must start; the port. address: what clients call this host."""
        connected = functools.partial(self._connected, tls)
        made = await asyncio.start_server(connected, host, port, limit=BUFFER_BYTES)
        self._servers.append(made)
        port = made.sockets[0].getsockname()[1]
        self._address |= {"host": address or host, "port": port, "tls": True}
        return port

    def address(self) -> dict[str, Any]:
        """Where clients find it: `unix`, and `host`, `port` and `tls`."""
        return dict(self._address)

    def add(self, name: str, disk: ExportedDisk, *, read_only: bool = False) -> None:
        """Offer a disk."""
        assert name not in self._exports, f"{name} is exported already"
        self._exports[name] = Export(name, disk, read_only=read_only)

    async def remove(self, name: str) -> None:
        """Offer it no more: its clients are cut off, and what they asked for is finished."""
        export = self._exports.pop(name, None)
        if export is None:
            return
        tasks = list(export.connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cut off all clients and stop listening."""
        for server in self._servers:
            server.close()
        for name in list(self._exports):
            await self.remove(name)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _connected(
        self,
        tls: ssl.SSLContext | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer, task, tls)
        except (Gone, asyncio.IncompleteReadError, TimeoutError, ConnectionError) as error:
            log.info("an NBD client is gone: %s", error)
        except asyncio.CancelledError:
            log.info("an NBD client was cut off")  # the stream's own task: nobody waits for it
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
        tls: ssl.SSLContext | None,
    ) -> None:
        async with asyncio.timeout(HANDSHAKE_WITHIN_S):
            chosen = await Negotiation(reader, writer, self._exports, tls).run()
        chosen.export.connections.add(task)
        try:
            await Connection(reader, writer, chosen).run()
        finally:
            chosen.export.connections.discard(task)
