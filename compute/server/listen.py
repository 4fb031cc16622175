"""The add-on's port: aiohttp's low-level server, drained at the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from compute.server.app import CloudApp

BACKLOG: Final = 1024
KEEPALIVE_S: Final = 75.0
LINGER_S: Final = 2.0
READ_BYTES: Final = 256 * 1024
"""Of a body that are read before whoever takes it is waited for."""


@contextlib.asynccontextmanager
async def serve(app: CloudApp, host: str, port: int, drain_s: float) -> AsyncIterator[int]:
    """Serve within the block; yields the port. Requests under way are finished at its end."""
    server = web.Server(
        app.handle,
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
        read_bufsize=READ_BYTES,
    )
    listener = await asyncio.get_running_loop().create_server(
        server, host, port, reuse_port=False, backlog=BACKLOG
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(drain_s)
