"""A body that stalls is given up in its API's own words; one that goes on, however slowly, is not."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import pytest
from aiohttp import web

from proxy.core.errors import SlowBody
from proxy.door import PublicPort
from proxy.http import IncomingBody
from proxy.s3.errors import TABLE as S3_TABLE
from proxy.swift.errors import ERRORS as SWIFT_TABLE

IDLE_S = 0.3
HEAD = b"PUT /o HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n"


async def take(request: web.BaseRequest) -> web.StreamResponse:
    """Read a body with a short patience; how it ended."""
    try:
        data = await IncomingBody(request, idle_s=IDLE_S).read_all()
    except SlowBody:
        return web.Response(status=408)
    return web.Response(body=data)


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    server = PublicPort(take, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.shutdown(1)


async def status(port: int, head: bytes, pieces: list[bytes], pause_s: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause_s)
    async with asyncio.timeout(10):
        line = await reader.readline()
        while line.startswith(b"HTTP/1.1 100"):
            await reader.readline()
            line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_a_body_that_stalls_is_given_up(port: int) -> None:
    ask = partial(status, port, pause_s=0)
    assert await ask(HEAD + b"\r\n", []) == 408
    assert await ask(HEAD + b"\r\n", [b"12345"]) == 408
    assert await ask(HEAD + b"Expect: 100-continue\r\n\r\n", []) == 408


async def test_a_slow_body_is_not(port: int) -> None:
    pieces = [b"%d" % digit for digit in range(10)]
    assert await status(port, HEAD + b"\r\n", pieces, pause_s=IDLE_S / 4) == 200


def test_both_apis_have_words_for_it() -> None:
    assert SlowBody in S3_TABLE
    assert SlowBody in SWIFT_TABLE
