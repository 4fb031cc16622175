"""The public port of one worker: all workers share it, HTTPS where there is a certificate."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.door import Door, PublicPort
from proxy.http import HEADER_FIELD_MAX_BYTES, LINE_MAX_BYTES, READ_BUFFER_BYTES
from runtime.certificate import ServedCertificate
from runtime.config import Config

LISTEN_BACKLOG: Final = 1024
KEEPALIVE_S: Final = 75.0
LINGER_S: Final = 2.0
"""How long the rest of a refused request's body is read and dropped."""


async def listen(
    stack: contextlib.AsyncExitStack,
    config: Config,
    door: Door,
    on_failure: Callable[[str, BaseException], None],
) -> Callable[[], Awaitable[None]]:
    """Serve requests; returns what stops taking them and waits for those under way."""
    server = PublicPort(
        door.handle,
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
        max_line_size=LINE_MAX_BYTES,
        max_field_size=HEADER_FIELD_MAX_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        auto_decompress=False,  # what clients store with Content-Encoding is stored as it came
    )
    certificate = None
    if config.tls_certificate:
        certificate = ServedCertificate(config.tls_certificate, config.tls_key)
        stack.callback(certificate.close)
        certificate.follow(on_failure)
    listener = await asyncio.get_running_loop().create_server(
        server,
        config.listen,
        config.port,
        reuse_port=True,
        backlog=LISTEN_BACKLOG,
        ssl=certificate.context if certificate else None,
    )
    for sock in listener.sockets or ():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def drain() -> None:
        listener.close()
        await door.drain(server, config.drain_s)

    return drain
