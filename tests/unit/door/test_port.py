"""The public port on real sockets: what is not HTTP, and which front end a request is for."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from proxy.door import PublicPort, is_swift


async def greet(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    """A port that greets."""
    server = PublicPort(greet, access_log=None, max_field_size=1024, max_line_size=1024)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.shutdown(1)


async def exchange(port: int, sent: bytes) -> bytes:
    """What the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_an_error_document_and_is_closed(port: int, sent: bytes) -> None:
    answer = await exchange(port, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") or head.startswith(b"HTTP/1.0 400 ")
    assert b"application/xml" in head
    assert b"<Code>BadRequest</Code>" in body
    assert b"Traceback" not in body


async def test_a_request_is_answered(port: int) -> None:
    answer = await exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hello")


@pytest.mark.parametrize(
    ("target", "authorization", "swift"),
    [
        ("/v1/AUTH_demo/c/o", "", True),
        ("/auth/v1.0", "", True),
        ("/info", "", True),
        ("/healthcheck", "", True),
        ("/v1/AUTH_demo/c", "AWS4-HMAC-SHA256 Credential=x", False),
        ("/v1/key?X-Amz-Signature=1", "", False),
        ("/info/key", "", False),
        ("/v10/key", "", False),
        ("/bucket/v1/", "", False),
        ("/", "", False),
    ],
)
def test_the_front_end_is_picked_by_path_and_signature(
    target: str, authorization: str, swift: bool
) -> None:
    assert is_swift(target, authorization) is swift
