"""Answers as they go over the wire: small ones in one piece, long calls with signs of life."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.core.errors import InvalidPart
from proxy.s3.answer import JOINED_MAX_BYTES, Answer, clean
from proxy.s3.errors import S3Error
from proxy.s3.reply import error_answer, long_answer, xml_answer
from proxy.s3.request import S3Request

NOW_NS = 1_000_000_000 * 10**9
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(handle: Handle) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Serve, and hand out how to send a request and read until the connection closes."""
    server = web.Server(handle, access_log=None, lingering_time=0.1)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    async def ask(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    try:
        yield ask
    finally:
        listener.close()
        await server.shutdown(1.0)


CLOSE = b"GET /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def lines_of(answer: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


@pytest.mark.parametrize("size", [0, 10, JOINED_MAX_BYTES, JOINED_MAX_BYTES + 1, 300_000])
async def test_an_answer_on_the_wire(size: int) -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return Answer(200, {"ETag": '"e"', "x-a": "\u00fc"}, b"b" * size, now_ns=NOW_NS)

    async with connected(handle) as ask:
        lines, body = lines_of(await ask(CLOSE))
    assert lines == [
        b"HTTP/1.1 200 OK",
        b'ETag: "e"',
        b"x-a: \xc3\xbc",
        b"Content-Length: %d" % size,
        b"Connection: close",
        b"Date: Sun, 09 Sep 2001 01:46:40 GMT",
        b"Server: Atoll",
    ]
    assert body == b"b" * size


@pytest.mark.parametrize(
    ("method", "status", "length"), [(b"HEAD", 200, b"7"), (b"GET", 304, None), (b"DELETE", 204, None)]
)
async def test_answers_without_a_body(method: bytes, status: int, length: bytes | None) -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return Answer(status, {}, b"seven b", now_ns=NOW_NS)

    async with connected(handle) as ask:
        lines, body = lines_of(await ask(method + CLOSE[3:]))
    assert body == b""
    lengths = [line for line in lines if line.startswith(b"Content-Length")]
    assert lengths == ([] if length is None else [b"Content-Length: " + length])


async def test_connections_are_kept_as_asked() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = Answer(200, {}, b"x", now_ns=NOW_NS)
        if request.raw_path == "/last":
            answer.force_close()
        return answer

    async with connected(handle) as ask:
        kept = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await ask(kept + kept + b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
        old = await ask(
            b"GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + b"GET /b HTTP/1.0\r\n\r\n"
        )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"Connection: close") == 1
    assert old.count(b"HTTP/1.1 200 OK") == 2
    assert old.count(b"Connection: keep-alive") == 1


def test_header_values_cannot_end_their_header() -> None:
    assert clean("a\r\nX: 1\x00\x7f") == "a  X: 1  "
    assert clean("tab\tand \u00fc\u00a0") == "tab\tand \u00fc\u00a0"


async def test_an_error_answer() -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return error_answer(S3Error("SlowDown", headers={"Retry-After": "1"}), "/b", "00FF", NOW_NS)

    async with connected(handle) as ask:
        lines, body = lines_of(await ask(CLOSE))
    assert lines[0] == b"HTTP/1.1 503 Service Unavailable"
    assert {b"Retry-After: 1", b"Content-Type: application/xml"} <= set(lines)
    assert b"<Code>SlowDown</Code>" in body
    assert b"<Resource>/b</Resource><RequestId>00FF</RequestId>" in body


# -- long calls --------------------------------------------------------------------------------


def slow(work: Callable[[S3Request], Awaitable[Answer]]) -> Handle:
    async def run(request: S3Request) -> Answer:
        await asyncio.sleep(0.1)
        return await work(request)

    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        request = S3Request(http, NOW_NS)
        return await long_answer(request, run(request), sign_of_life_s=0.01)

    return handle


async def succeed(request: S3Request) -> Answer:
    return xml_answer(request, "Result", "<A>1</A>")


async def fail(_request: S3Request) -> Answer:
    raise InvalidPart("part 7")


async def break_down(_request: S3Request) -> Answer:
    raise ZeroDivisionError("secret")


async def test_a_long_call_shows_signs_of_life() -> None:
    async with connected(slow(succeed)) as ask:
        lines, body = lines_of(await ask(CLOSE))
    assert lines[0] == b"HTTP/1.1 200 OK"
    document = b"".join(part for part in body.split(b"\r\n")[1::2])
    assert document.count(b"<?xml") == 1
    assert document.index(b"  ") < document.index(b"<Result")
    assert document.endswith(b"<A>1</A></Result>")


async def test_a_long_call_that_fails_says_so_in_its_document() -> None:
    async with connected(slow(fail)) as ask:
        lines, body = lines_of(await ask(CLOSE))
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"<Error><Code>InvalidPart</Code>" in body


async def test_a_long_call_that_breaks_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(slow(break_down)) as ask:
        answer = await ask(CLOSE)
    assert b"0\r\n\r\n" not in answer[-5:]
    assert b"secret" not in answer


async def test_a_quick_call_answers_as_any_other() -> None:
    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        request = S3Request(http, NOW_NS)
        return await long_answer(request, succeed(request))

    async with connected(handle) as ask:
        lines, body = lines_of(await ask(CLOSE))
    assert b"Content-Length: %d" % len(body) in lines


async def test_a_client_that_goes_away_ends_a_long_call() -> None:
    ended = asyncio.Event()

    async def endless(request: S3Request) -> Answer:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return xml_answer(request, "Result", "")

    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        request = S3Request(http, NOW_NS)
        return await long_answer(request, endless(request), sign_of_life_s=0.01)

    server = web.Server(handle, access_log=None, lingering_time=0.1)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(CLOSE)
    await reader.readline()
    writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 10)
    listener.close()
    await server.shutdown(1.0)
