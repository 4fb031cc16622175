"""A link over a transport that only records: batches, garbage, time limits, flow control."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from runtime.randomness import SeededRandomness
from storage.wire.frames import Frame, FrameError, encode_prefix
from storage.wire.handshake import ClientHandshake, Role, ServerHandshake
from storage.wire.link import JOIN_MAX_BYTES, WRITE_BUFFER_BYTES, Link

SECRET = b"the cluster's own secret"


class RecordingTransport(asyncio.Transport):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[bytes]] = []
        self.aborted = False
        self.closed = False
        self.reading = True
        self.high = -1
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append([bytes(data)])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append([bytes(data) for data in list_of_data])

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = -1 if high is None else high


class Recorder:
    """A handler that keeps what it is told."""

    def __init__(self) -> None:
        self.made = self.ready = 0
        self.frames: list[Frame] = []
        self.congestion: list[bool] = []
        self.lost: list[str] = []

    def link_made(self) -> None:
        self.made += 1

    def link_ready(self) -> None:
        self.ready += 1

    def frame_received(self, frame: Frame) -> None:
        if frame.kind == 99:
            raise FrameError("a frame of kind 99")
        self.frames.append(frame)

    def link_congested(self, congested: bool) -> None:
        self.congestion.append(congested)

    def link_lost(self, reason: str) -> None:
        self.lost.append(reason)


class End:
    """One end of a connection in the hands of a test."""

    def __init__(self, handshake: ClientHandshake | ServerHandshake, time_s: float = 5.0) -> None:
        self.recorder = Recorder()
        self.transport = RecordingTransport()
        self.link = Link(handshake, self.recorder, time_s)
        self.link.connection_made(self.transport)

    def take(self) -> bytes:
        """All bytes written so far, taken out."""
        data = b"".join(b"".join(write) for write in self.transport.writes)
        self.transport.writes.clear()
        return data


def server_end(time_s: float = 5.0) -> End:
    return End(ServerHandshake(SECRET, SeededRandomness(1)), time_s)


def client_end(role: Role = Role.CALLS, secret: bytes = SECRET) -> End:
    return End(ClientHandshake(secret, role, SeededRandomness(2)))


def connected(role: Role = Role.CALLS) -> tuple[End, End]:
    client, server = client_end(role), server_end()
    for _ in range(2):
        server.link.data_received(client.take())
        client.link.data_received(server.take())
    return client, server


def send(end: End, number: int, body: bytes = b"") -> None:
    end.link.send(1, b"head", body, call=number, epoch=0, ticks=5)


def frame_bytes(number: int, body: bytes = b"", kind: int = 1) -> bytes:
    return encode_prefix(kind, b"head", len(body), call=number, epoch=0, ticks=5) + body


async def test_both_ends_become_ready_with_their_role() -> None:
    for role in (Role.CALLS, Role.BULK):
        client, server = connected(role)
        assert client.recorder.ready == server.recorder.ready == 1
        assert client.link.role is server.link.role is role
        assert client.transport.high == server.transport.high == WRITE_BUFFER_BYTES[role]


def receive(end: End, data: bytes) -> None:
    """Let a bulk end receive as its loop would."""
    protocol = end.transport.protocol
    assert isinstance(protocol, asyncio.BufferedProtocol)
    while data and not end.transport.aborted:
        buffer = memoryview(protocol.get_buffer(-1))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        protocol.buffer_updated(count)
        data = data[count:]


async def test_bulk_is_received_in_place() -> None:
    client, server = connected(Role.BULK)
    assert server.transport.reading
    body = bytes(range(256)) * 1000
    send(client, 1, body)
    send(client, 2)
    await asyncio.sleep(0)
    receive(server, client.take())
    assert [frame.body for frame in server.recorder.frames] == [body, b""]
    assert server.link.heard
    receive(server, frame_bytes(3, kind=99) + frame_bytes(4))
    assert server.transport.aborted
    assert len(server.recorder.frames) == 2


async def test_bulk_garbage_closes_the_connection() -> None:
    _, server = connected(Role.BULK)
    receive(server, b"\xff" * 100)
    assert server.transport.aborted


async def test_a_bulk_frame_may_come_with_the_last_word_of_the_handshake() -> None:
    client, server = client_end(Role.BULK), server_end()
    server.link.data_received(client.take())
    client.link.data_received(server.take())
    server.link.data_received(client.take() + frame_bytes(7) + frame_bytes(8, bytes(200_000))[:-1])
    receive(server, bytes(1))
    assert [frame.call for frame in server.recorder.frames] == [7, 8]


async def test_frames_of_one_turn_leave_in_one_write() -> None:
    client, server = connected()
    for number in range(1, 51):
        send(client, number, b"body")
    assert client.transport.writes == []
    await asyncio.sleep(0)
    assert len(client.transport.writes) == 1
    server.link.data_received(client.take())
    assert [frame.call for frame in server.recorder.frames] == list(range(1, 51))
    send(client, 51)
    await asyncio.sleep(0)
    assert len(client.transport.writes) == 1


async def test_large_bodies_are_not_copied_together() -> None:
    client, server = connected()
    large = bytes(JOIN_MAX_BYTES + 1)
    send(client, 1, b"small")
    send(client, 2, large)
    send(client, 3)
    await asyncio.sleep(0)
    (write,) = client.transport.writes
    assert large in write
    server.link.data_received(client.take())
    assert [len(frame.body) for frame in server.recorder.frames] == [5, len(large), 0]


async def test_nothing_is_sent_before_the_handshake_or_after_the_end() -> None:
    client = client_end()
    client.take()
    send(client, 1)
    await asyncio.sleep(0)
    assert client.take() == b""
    client, _ = connected()
    client.link.connection_lost(None)
    send(client, 1)
    await asyncio.sleep(0)
    assert client.take() == b""
    assert client.recorder.lost == ["closed by the peer"]


async def test_a_frame_may_come_with_the_last_word_of_the_handshake() -> None:
    client, server = client_end(), server_end()
    server.link.data_received(client.take())
    client.link.data_received(server.take())
    server.link.data_received(client.take() + frame_bytes(7))
    assert [frame.call for frame in server.recorder.frames] == [7]


async def test_an_unproven_peer_gets_nothing_and_is_closed() -> None:
    server = server_end()
    server.link.data_received(b"GET / HTTP/1.1\r\nHost: here\r\nAccept: everything there is\r\n\r\n")
    assert server.transport.aborted
    assert server.take() == b""
    client, server = client_end(secret=b"another cluster's secret"), server_end()
    server.link.data_received(client.take())
    client.link.data_received(server.take())
    server.link.data_received(client.take() + frame_bytes(1))
    assert server.transport.aborted
    assert server.take() == b""
    assert server.recorder.frames == []
    assert server.recorder.ready == 0


async def test_a_handshake_has_a_time_limit() -> None:
    server = server_end(time_s=0.01)
    for _ in range(100):
        if server.transport.aborted:
            break
        await asyncio.sleep(0.01)
    assert server.transport.aborted
    server.link.connection_lost(None)
    assert server.recorder.lost == ["handshake took too long"]


async def test_the_time_limit_ends_with_the_handshake() -> None:
    server = server_end(time_s=0.03)
    client = client_end()
    for _ in range(2):
        server.link.data_received(client.take())
        client.link.data_received(server.take())
    await asyncio.sleep(0.06)
    assert not server.transport.aborted


@pytest.mark.parametrize("seed", range(20))
async def test_garbage_closes_the_connection_and_raises_nothing(seed: int) -> None:
    generator = random.Random(seed)
    _, server = connected()
    for _ in range(50):
        server.link.data_received(b"\xff" * generator.randint(1, 40))
    assert server.transport.aborted
    server.link.data_received(b"more")
    server.link.connection_lost(ConnectionResetError("gone"))
    (reason,) = server.recorder.lost
    assert "limit" in reason


async def test_a_frame_that_makes_no_sense_closes_the_connection() -> None:
    _, server = connected()
    server.link.data_received(frame_bytes(1) + frame_bytes(2, kind=99) + frame_bytes(3))
    assert server.transport.aborted
    assert [frame.call for frame in server.recorder.frames] == [1]


async def test_reading_is_held_as_often_as_it_is_released() -> None:
    _, server = connected()
    server.link.hold_reading()
    server.link.hold_reading()
    server.link.release_reading()
    assert not server.transport.reading
    server.link.release_reading()
    assert server.transport.reading


async def test_congestion_is_told() -> None:
    client, _ = connected()
    client.link.pause_writing()
    assert client.link.congested
    client.link.resume_writing()
    assert client.recorder.congestion == [True, False]


async def test_close_sends_what_was_to_be_sent() -> None:
    client, _ = connected()
    send(client, 1)
    client.link.close()
    assert client.take() == frame_bytes(1)
    assert client.transport.closed
