"""Bodies and answers as streams, on a real port."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest

from compute.server.app import CloudApp, Mount
from compute.server.errors import ApiError
from compute.server.listen import serve
from compute.server.request import Answer, Request
from runtime.randomness import SystemRandomness


class Echo:
    """PUT counts the bytes of a stream; GET sends a stream, and breaks off where the path says so."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.broke_off = asyncio.Event()

    def streams(self, method: str, _path: str) -> bool:
        return method == "PUT"

    async def answer(self, request: Request) -> Answer:
        if request.method == "PUT":
            assert request.stream is not None
            try:
                size = sum([len(chunk) async for chunk in request.stream])
            except ConnectionError:
                self.broke_off.set()
                raise
            return Answer(200, b"%d" % size)
        assert request.stream is None
        headers = {"Content-Length": "300000"} if request.path == "/sized" else {}
        return Answer(200, headers=headers, stream=self._chunks(request.path))

    async def _chunks(self, path: str) -> AsyncIterator[bytes]:
        try:
            for _ in range(3):
                yield b"x" * 100_000
            if path == "/broken":
                raise LookupError
            while path == "/endless":
                yield b"x" * 100_000
        finally:
            self.closed.set()

    def refused(self, _request: Request, error: ApiError) -> Answer:
        return Answer(error.status)


@contextlib.asynccontextmanager
async def served(echo: Echo) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    app = CloudApp([Mount("", echo)], SystemRandomness())
    async with serve(app, "127.0.0.1", 0, 1.0) as port, aiohttp.ClientSession() as session:
        yield f"http://127.0.0.1:{port}", session


async def test_a_body_larger_than_any_json_comes_as_a_stream() -> None:
    body = io.BytesIO(b"x" * 3_000_000)
    async with served(Echo()) as (url, session), session.put(url, data=body) as answer:
        assert await answer.text() == "3000000"


async def test_a_body_that_breaks_off_is_told() -> None:
    echo = Echo()
    async with served(echo) as (url, _session):
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        await writer.drain()
        writer.close()
        await asyncio.wait_for(echo.broke_off.wait(), 30)


@pytest.mark.parametrize("path", ["/sized", "/chunked"])
async def test_an_answer_is_sent_as_it_comes_and_closed(path: str) -> None:
    echo = Echo()
    async with served(echo) as (url, session):
        async with session.get(url + path) as answer:
            assert len(await answer.read()) == 300_000
            assert ("Content-Length" in answer.headers) is (path == "/sized")
        async with asyncio.timeout(30):
            await echo.closed.wait()


async def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    async with served(Echo()) as (url, session), session.get(f"{url}/broken") as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_the_stream_is_closed_when_the_client_has_gone_away() -> None:
    echo = Echo()
    async with served(echo) as (url, session):
        async with session.get(f"{url}/endless") as answer:
            await answer.content.readexactly(100_000)
        async with asyncio.timeout(30):
            await echo.closed.wait()


async def test_head_sends_no_stream() -> None:
    async with served(Echo()) as (url, session), session.head(f"{url}/sized") as answer:
        assert answer.headers["Content-Length"] == "300000"
