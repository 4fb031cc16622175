"""Calls over a connection that is lost, slow, overloaded, or spoken to by strangers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.randomness import SystemRandomness
from storage.contract import Deliver, DeviceFault
from storage.memory import MemoryDevice
from storage.types import (
    ZERO_STAMP,
    BlobName,
    Count,
    Failed,
    Fault,
    Ok,
    Read,
    Row,
    RowMessage,
    Write,
)
from storage.wire.client import WireDevice
from storage.wire.connection import OUTSTANDING_MAX, UnixAddress
from storage.wire.dialer import BACKOFF_MIN_S
from storage.wire.frames import TICKS_MAX
from storage.wire.handshake import HELLO_BYTES, Role, ServerHandshake, hello
from storage.wire.link import Link
from storage.wire.messages import PING, ROW, Ping, Pong, encode
from storage.wire.session import IN_FLIGHT_MAX
from tests.contract.wire.node import CLOCK, SECRET, Node, ask, running_node, soon, until

READ = Read(b"shard", b"name")
BLOB = BlobName(bytes(16), 0)


def write(number: int, size: int = 0) -> Write:
    version = (CLOCK.now_ns() + number).to_bytes(8, "big") + b"process1" + ZERO_STAMP
    return Write(b"shard", b"%d" % number, version, 0, size, b"")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as made:
        yield made
        assert made.failures == []


def fault(answers: list[tuple[object, bytes]] | object) -> Fault:
    assert isinstance(answers, list)
    ((answer, _),) = answers
    assert isinstance(answer, Failed), answer
    return Fault(answer.fault)


# -- calls and their deadlines -----------------------------------------------------------------


async def test_a_ping_tells_release_epoch_and_devices(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = 12
    assert await peer.ping(soon()) == Pong("1.2.3", 12, [1, 2])


async def test_status_is_the_devices_own(node: Node) -> None:
    class Telling(MemoryDevice):
        def status(self) -> dict[str, object]:
            return {"free_bytes": 5, "notes": ["one"]}

    node.devices[3] = Telling(3, CLOCK)
    peer = await node.connected()
    assert await WireDevice(peer, 3).status() == {"free_bytes": 5, "notes": ["one"]}
    assert await WireDevice(peer, 1).status() == {}


async def test_a_device_that_is_not_there_is_offline(node: Node) -> None:
    peer = await node.connected()
    answers = ask(WireDevice(peer, 99), READ)
    await until(lambda: bool(answers))
    assert fault(answers) is Fault.OFFLINE
    with pytest.raises(DeviceFault, match="not served here"):
        await WireDevice(peer, 99).list_blobs(None, 1)


async def test_a_call_without_an_answer_ends_at_its_deadline(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 2)
    sooner, later = soon(0.2), soon(0.6)
    answers, slower = ask(device, READ, sooner), ask(device, READ, later)
    await until(lambda: bool(answers))
    assert fault(answers) is Fault.DEADLINE
    assert CLOCK.monotonic() >= sooner
    assert slower == [] or CLOCK.monotonic() >= later
    await until(lambda: bool(slower))
    assert fault(slower) is Fault.DEADLINE
    assert peer.calls.outstanding == 0


async def test_an_answer_after_the_deadline_is_ignored(node: Node) -> None:
    peer = await node.connected()
    answers = ask(WireDevice(peer, 2), READ, soon(0.2))
    await until(lambda: bool(answers))
    node.held.expire()  # the late answer
    later = ask(WireDevice(peer, 1), READ)
    await until(lambda: bool(later))
    assert len(answers) == 1


async def test_a_message_whose_deadline_has_passed_is_dropped_by_the_server(node: Node) -> None:
    peer = await node.connected()
    link = peer.calls._link
    assert link is not None
    head = encode((2, write(1)))
    link.send(ROW.kind, head, call=4_000_000, epoch=0, ticks=0)
    answers = ask(WireDevice(peer, 1), Count(b"shard"))
    await until(lambda: bool(answers))
    assert node.carrier.held == []  # the device has not even seen it


async def test_deadlines_beyond_the_header_are_cut(node: Node) -> None:
    peer = await node.connected()
    answers = ask(WireDevice(peer, 1), READ, soon(1e9))
    await until(lambda: bool(answers))
    assert isinstance(answers[0][0], Row)


# -- the connection is lost ----------------------------------------------------------------------


async def test_without_a_connection_the_answer_comes_at_once(tmp_path: Path) -> None:
    node = Node(str(tmp_path / "nobody.sock"))
    peer = node.peer()
    answers = ask(WireDevice(peer, 1), READ)
    assert fault(answers) is Fault.UNREACHABLE
    with pytest.raises(DeviceFault) as caught:
        await peer.calls.ready(soon(0.2))
    assert caught.value.fault is Fault.UNREACHABLE
    await node.close()


async def test_a_lost_connection_answers_what_is_outstanding(node: Node) -> None:
    peer = await node.connected()
    answers = [ask(WireDevice(peer, 2), READ) for _ in range(50)]
    pinging = asyncio.ensure_future(WireDevice(peer, 2).list_blobs(None, 1))
    await until(lambda: len(node.carrier.held) == 50)
    (session,) = node.server.sessions
    session.link.fail("pulled")
    await until(lambda: all(answers))
    assert {fault(answer) for answer in answers} == {Fault.UNREACHABLE}
    with contextlib.suppress(DeviceFault):
        await pinging
    node.carrier.release_all()  # answers to a connection that is gone


async def test_it_connects_again_when_the_server_is_back(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 1)
    for _ in range(2):
        await node.server.close()
        await until(lambda: not peer.calls.connected)
        assert fault(ask(device, READ)) is Fault.UNREACHABLE
        await node.start()
        await until(lambda: peer.calls.connected)  # by itself
        answers = ask(device, READ)
        await until(lambda answers=answers: bool(answers))  # type: ignore[misc]
        assert isinstance(answers[0][0], Row)


async def test_a_call_made_from_the_answer_of_a_lost_one_is_answered(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 2)
    seen: list[object] = []
    device.send(READ, b"", soon(), lambda *_: seen.append(ask(device, READ)))
    await until(lambda: len(node.carrier.held) == 1)
    for session in list(node.server.sessions):
        session.link.fail("pulled")
    await until(lambda: bool(seen))
    assert fault(seen[0]) is Fault.UNREACHABLE


async def test_closing_answers_what_is_outstanding(node: Node) -> None:
    peer = await node.connected()
    answers = ask(WireDevice(peer, 2), READ)
    await until(lambda: len(node.carrier.held) == 1)
    peer.close()
    peer.close()
    await until(lambda: bool(answers))
    assert fault(answers) is Fault.UNREACHABLE
    await asyncio.sleep(2 * BACKOFF_MIN_S)
    assert not peer.calls.connected
    with pytest.raises(DeviceFault, match="was closed"):
        await peer.calls.ready(soon())


async def test_a_server_that_stops_answers_what_is_under_way(node: Node) -> None:
    peer = await node.connected()
    answers = ask(WireDevice(peer, 2), READ)
    await until(lambda: len(node.carrier.held) == 1)
    closing = asyncio.ensure_future(node.server.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    refused = ask(WireDevice(peer, 1), write(1))
    await until(lambda: bool(refused))
    assert fault(refused) is Fault.OFFLINE
    node.carrier.release_all()
    await closing
    await until(lambda: bool(answers))
    assert isinstance(answers[0][0], Row)
    await node.start()


async def test_a_peer_that_drops_us_at_once_is_not_asked_in_a_loop(tmp_path: Path) -> None:
    path, dropped = str(tmp_path / "dropping.sock"), 0

    class Dropping(SilentPeer):
        def link_ready(self) -> None:
            nonlocal dropped
            dropped += 1
            self.link.fail("go away")

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Dropping().link, path)
    node = Node(path)
    node.peer()
    await asyncio.sleep(1.0)
    assert 2 <= dropped <= 16
    await node.close()
    server.close()
    await server.wait_closed()


class SilentPeer:
    """A server that knows the secret and then says nothing."""

    def __init__(self) -> None:
        self.link = Link(ServerHandshake(SECRET, SystemRandomness()), self)

    def link_made(self) -> None:
        """Nothing."""

    def link_ready(self) -> None:
        """Nothing."""

    def frame_received(self, frame: object) -> None:
        """Nothing."""

    def link_congested(self, congested: bool) -> None:
        """Nothing."""

    def link_lost(self, reason: str) -> None:
        """Nothing."""


async def test_a_silent_peer_is_given_up(tmp_path: Path) -> None:
    path = str(tmp_path / "silent.sock")
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: SilentPeer().link, path)
    node = Node(path)
    connection = node.connection(silence_max_s=0.4, keep=False)
    await connection.ready(soon())
    with pytest.raises(DeviceFault) as caught:
        await connection.request(PING, 0, Ping(""), soon(30))
    assert caught.value.fault is Fault.UNREACHABLE
    assert "not even to a ping" in caught.value.text
    await node.close()
    server.close()
    await server.wait_closed()


async def test_a_slow_device_is_no_silent_peer(node: Node) -> None:
    connection = node.connection(silence_max_s=0.3)
    await connection.ready(soon())
    future = connection.begin(ROW, 2, READ, soon())
    await asyncio.sleep(1.0)
    assert connection.connected
    assert not future.done()


# -- load --------------------------------------------------------------------------------------


async def test_too_many_outstanding_calls_are_refused(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 2)
    answers = [ask(device, READ) for _ in range(OUTSTANDING_MAX)]
    assert not any(answers)
    ((answer, _),) = ask(device, READ)
    assert answer == Failed(Fault.UNREACHABLE, "overloaded")
    await until(lambda: len(node.carrier.held) > 0)
    while not all(answers):
        node.carrier.release_all()
        await asyncio.sleep(0.005)
    assert all(isinstance(answer[0][0], Row) for answer in answers)


async def test_a_busy_server_reads_no_more(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 2)
    payload = bytes(16 * 1024)
    answers = [ask(device, write(number), payload=payload) for number in range(3 * IN_FLIGHT_MAX)]
    await until(lambda: len(node.carrier.held) > IN_FLIGHT_MAX)
    await asyncio.sleep(0.1)
    under_way = len(node.carrier.held)
    assert under_way < IN_FLIGHT_MAX + 256 * 1024 // len(payload) + 2
    while not all(answers):
        node.carrier.release_all()
        await asyncio.sleep(0.005)
    assert [answer[0][0] for answer in answers] == [Ok()] * len(answers)


async def test_answers_that_nobody_reads_stop_the_reading(node: Node) -> None:
    """A stranger with the secret that sends and never reads costs a bounded amount of memory."""
    peer = await node.connected()
    device = WireDevice(peer, 1)
    body = bytes(1024 * 1024)
    stored = ask(device, write(1, len(body)), payload=body)
    await until(lambda: bool(stored))
    (session,) = node.server.sessions
    session.link_congested(True)
    answers = ask(device, Read(b"shard", b"1"))
    await asyncio.sleep(0.1)
    assert answers == []
    session.link_congested(False)
    await until(lambda: bool(answers))
    assert len(answers[0][1]) == len(body)


# -- bugs of ours ------------------------------------------------------------------------------


class Broken(MemoryDevice):
    """A device with a bug."""

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        raise ZeroDivisionError("a bug")

    async def delete_blob(self, name: object, deadline: float) -> None:
        raise ZeroDivisionError("a bug")


async def test_a_device_with_a_bug_is_reported_and_the_outcome_is_unknown(node: Node) -> None:
    node.devices[3] = Broken(3, CLOCK)
    peer = await node.connected()
    answers = ask(WireDevice(peer, 3), READ)
    await until(lambda: bool(answers))
    assert fault(answers) is Fault.UNREACHABLE
    with pytest.raises(DeviceFault, match="ZeroDivisionError"):
        await WireDevice(peer, 3).delete_blob(BLOB, soon())
    assert [type(error) for _, error in node.failures] == [ZeroDivisionError] * 2
    node.failures.clear()


async def test_a_receiver_with_a_bug_does_not_harm_the_others(node: Node) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    peer = await node.connected()
    device = WireDevice(peer, 1)

    def deliver(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    device.send(READ, b"", soon(), deliver)
    answers = ask(device, READ)
    await until(lambda: bool(answers))
    assert isinstance(answers[0][0], Row)
    assert len(reported) == 1
    asyncio.get_running_loop().set_exception_handler(None)


async def test_cancelled_requests_leave_nothing_outstanding(node: Node) -> None:
    peer = await node.connected()
    requests = [asyncio.ensure_future(peer.calls.request(ROW, 2, READ, soon())) for _ in range(20)]
    await until(lambda: len(node.carrier.held) == 20)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    node.carrier.release_all()
    await until(lambda: peer.calls.outstanding == 0)


# -- strangers ---------------------------------------------------------------------------------


async def test_a_wrong_secret_is_never_connected(node: Node) -> None:
    peer = node.peer(secret=b"the wrong cluster secret")
    with pytest.raises(DeviceFault) as caught:
        await peer.calls.ready(soon(0.3))
    assert caught.value.fault is Fault.UNREACHABLE
    assert not any(session.link.ready for session in node.server.sessions)


async def all_answers(path: str, *sayings: bytes) -> bytes:
    """What a stranger that says this, waiting a little after each, hears until it is cut off."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        for saying in sayings:
            writer.write(saying)
            await asyncio.sleep(0.05)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_stranger_gets_a_nonce_and_no_word(node: Node) -> None:
    greeting = hello(Role.CALLS, bytes(32))
    assert len(await all_answers(node.path, greeting, bytes(32) + b"\x01" * 500)) == HELLO_BYTES
    assert await all_answers(node.path, greeting + bytes(32)) == b""
    assert await all_answers(node.path, b"GET / HTTP/1.1\r\nHost: here\r\nAccept: a\r\n\r\n") == b""
    await until(lambda: not node.server.sessions)


async def test_the_socket_is_for_this_user_alone(node: Node) -> None:
    assert Path(node.path).stat().st_mode & 0o777 == 0o600


async def test_a_known_peer_that_talks_nonsense_is_closed(node: Node) -> None:
    connection = node.connection(keep=False)
    for head in (b"", b"\xc1", b"\x91" * 10_000, encode((1, "no message")), encode([1])):
        await connection.ready(soon())
        assert connection._link is not None
        connection._link.send(ROW.kind, head, call=1, epoch=0, ticks=TICKS_MAX)
        await until(lambda: not connection.connected)
    await connection.ready(soon())
    assert connection._link is not None
    connection._link.send(120, b"", call=1, epoch=0, ticks=TICKS_MAX)
    await until(lambda: not connection.connected)


async def test_a_server_that_talks_nonsense_costs_an_unknown_outcome(tmp_path: Path) -> None:
    path = str(tmp_path / "odd.sock")

    class Odd(SilentPeer):
        def frame_received(self, frame: object) -> None:
            call = frame.call  # type: ignore[attr-defined]
            self.link.send(ROW.kind | 0x80, b"\xc1", call=call, epoch=0, ticks=0)

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Odd().link, path)
    node = Node(path)
    peer = await node.connected(UnixAddress(path))
    answers = [ask(WireDevice(peer, 1), READ) for _ in range(2)]
    await until(lambda: all(answers))
    assert {fault(answer) for answer in answers} == {Fault.UNREACHABLE}
    await node.close()
    server.close()
    await server.wait_closed()
