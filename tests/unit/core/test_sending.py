"""Answers with a body on real sockets: whole, or cut so that nobody can take them for whole."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy import http
from proxy.http import send_stream

Pieces = Callable[[], AsyncGenerator[memoryview, None]]

LENGTH = 1000
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def served(handle: Callable[[web.BaseRequest], object]) -> AsyncGenerator[int, None]:
    server = web.Server(handle, access_log=None)  # type: ignore[arg-type]
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.shutdown(1)


async def exchange(port: int, sent: bytes, *, until: int | None = None) -> bytes:
    """What comes back until the server closes, or until so many bytes are there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    got = b""
    try:
        async with asyncio.timeout(5):
            while until is None or len(got) < until:
                piece = await reader.read(65536)
                if not piece:
                    break
                got += piece
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return got


async def _too_few() -> AsyncGenerator[memoryview, None]:
    yield memoryview(b"x" * 400)
    yield memoryview(b"x" * 400)


async def _none() -> AsyncGenerator[memoryview, None]:
    for piece in list[memoryview]():
        yield piece


async def _fails() -> AsyncGenerator[memoryview, None]:
    yield memoryview(b"x" * 400)
    raise RuntimeError("a fault of the object's")


@pytest.mark.parametrize("pieces", [_too_few, _none, _fails])
async def test_a_body_that_ends_early_closes_the_connection(pieces: Pieces) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await send_stream(request, 200, {}, LENGTH, pieces())
        except Exception:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionError("closed") from None
            return web.Response(status=500)

    async with served(handle) as port:
        got = await exchange(port, REQUEST + LAST)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b" 200 " not in head or len(body) < LENGTH
    assert got.count(b"HTTP/1.1 200") <= 1


async def test_a_whole_body_keeps_the_connection() -> None:
    async def whole() -> AsyncGenerator[memoryview, None]:
        yield memoryview(b"x" * 400)
        yield memoryview(b"x" * 600)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await send_stream(request, 200, {}, LENGTH, whole())

    async with served(handle) as port:
        got = await exchange(port, REQUEST + REQUEST, until=2 * LENGTH + 200)
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.count(b"x") == 2 * LENGTH


async def test_who_takes_nothing_of_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of its last piece, which is written at once and drained at the end."""
    monkeypatch.setattr(http, "SEND_IDLE_MAX_S", 0.3)
    closed = asyncio.Event()
    size = 64 * 1024 * 1024

    async def pieces() -> AsyncGenerator[memoryview, None]:
        try:
            yield memoryview(bytes(size))
        finally:
            closed.set()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await send_stream(request, 200, {}, size, pieces())

    async with served(handle) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(REQUEST)
        async with asyncio.timeout(5):
            await closed.wait()
        writer.close()
