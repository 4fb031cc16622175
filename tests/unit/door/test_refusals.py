"""What a refused client hears, over both APIs, and that its body is not waited for."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from proxy.auth.users import MemoryUsers
from proxy.door import Door, PublicPort
from proxy.s3.app import S3App
from proxy.swift.app import SwiftApp
from runtime.clock import SystemClock
from runtime.telemetry import Telemetry
from tests.grid import Grid


class Port:
    """A store's public port whose admission a test can fill."""

    def __init__(self, door: Door, number: int, telemetry: Telemetry) -> None:
        self.door = door
        self.number = number
        self.telemetry = telemetry

    async def ask(self, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(sent)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        writer.close()
        return head + body


@pytest.fixture
async def port() -> AsyncGenerator[Port]:
    store, clock, telemetry = Grid().store(), SystemClock(), Telemetry()
    users = MemoryUsers([])
    door = Door(S3App(store, users, clock), SwiftApp(store, users, clock, b"s" * 32), telemetry)
    server = PublicPort(door.handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield Port(door, listener.sockets[0].getsockname()[1], telemetry)
    listener.close()
    await server.shutdown(1)


PUT = b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.mark.parametrize("fill", ["queue", "uploads"])
async def test_s3_says_slow_down_before_the_body_came(port: Port, fill: str) -> None:
    await fill_up(port, fill)
    answer = await port.ask(PUT % b"/bucket/key")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>SlowDown</Code>" in answer
    assert b"\r\nretry-after: 1\r\n" in answer.lower()
    assert b"\r\nconnection: close\r\n" in answer.lower()
    (event,) = port.telemetry.counts.events
    assert event == f"refused_{fill}_full"
    assert port.telemetry.counts.requests.keys() == {"s3 PUT 503"}


@pytest.mark.parametrize("fill", ["queue", "uploads"])
async def test_swift_says_503_with_a_time(port: Port, fill: str) -> None:
    await fill_up(port, fill)
    answer = await port.ask(PUT % b"/v1/AUTH_demo/c/o")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer.lower()
    assert b"\r\nx-trans-id: tx" in answer.lower()


async def test_a_check_of_health_is_always_answered(port: Port) -> None:
    await fill_up(port, "queue")
    answer = await port.ask(b"GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_answered_request_gives_its_turn_back(port: Port) -> None:
    for _ in range(3):
        await port.ask(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n")
    status = port.door.admission.status()
    assert (status.running, status.waiting, status.uploads) == (0, 0, 0)


async def fill_up(port: Port, what: str) -> None:
    admission = port.door.admission
    if what == "uploads":
        admission.uploads = 10**9
    else:
        admission.gate.running = 10**9
        admission.gate.waiting_bytes = 10**12
