"""Blob streams whose connection is lost, whose window is overrun, whose pool is crowded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.contract import DeviceFault
from storage.types import BlobName, Fault
from storage.wire.bulk import BLOBS_PER_CONNECTION, BULK_CONNECTIONS_MAX, BulkPool
from storage.wire.client import Peer, WireDevice
from storage.wire.connection import Connection
from storage.wire.frames import TICKS_MAX
from storage.wire.handshake import Role
from storage.wire.messages import (
    CREATE_BLOB,
    OPEN_BLOB,
    PIECE_MAX_BYTES,
    READ_BLOB,
    WRITE_BLOB,
    CreateBlob,
    OpenBlob,
    ReadBlob,
    WriteBlob,
    encode,
)
from storage.wire.serve_blobs import WAITING_MAX
from storage.wire.session import Session
from tests.contract.device.words import blob_header, blob_name
from tests.contract.wire.node import Node, running_node, soon, until

NAME = blob_name(1)
MIB = 1024 * 1024


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as made:
        yield made
        assert made.failures == []


def bulk_sessions(node: Node) -> list[Session]:
    return [session for session in node.server.sessions if session.link.role is Role.BULK]


async def create_and_abort(peer: Peer, name: BlobName) -> None:
    writer = await WireDevice(peer, 1).create_blob(blob_header(name), soon())
    await writer.abort()


async def name_is_free(peer: Peer, name: BlobName) -> bool:
    try:
        await create_and_abort(peer, name)
    except ValueError:
        return False
    return True


async def eventually_free(peer: Peer, name: BlobName) -> None:
    deadline = soon()
    while not await name_is_free(peer, name):
        assert soon(0) < deadline
        await asyncio.sleep(0.01)


async def test_a_lost_connection_aborts_what_is_not_committed(node: Node) -> None:
    peer = await node.connected()
    writer = await WireDevice(peer, 1).create_blob(blob_header(NAME), soon())
    await writer.write(bytes(MIB))
    for session in bulk_sessions(node):
        session.link.fail("pulled")
    with pytest.raises(DeviceFault) as caught:
        await write_on(writer)
    assert caught.value.fault is Fault.UNREACHABLE
    await writer.abort()
    await eventually_free(peer, NAME)
    assert await WireDevice(peer, 1).list_blobs(None, 10) == []


async def write_on(writer: object) -> None:
    for _ in range(20):
        await writer.write(bytes(MIB))  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    await writer.commit()  # type: ignore[attr-defined]


async def test_a_reader_of_a_lost_connection_fails_and_a_new_one_works(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 1)
    writer = await device.create_blob(blob_header(NAME), soon())
    await writer.write(b"data")
    await writer.commit()
    reader = await device.open_blob(NAME, soon())
    for session in bulk_sessions(node):
        session.link.fail("pulled")
    await until(lambda: not bulk_sessions(node))
    with pytest.raises(DeviceFault) as caught:
        await reader.read(0, 4)
    assert caught.value.fault is Fault.UNREACHABLE
    again = await device.open_blob(NAME, soon())
    assert b"".join(await again.read(0, 4)) == b"data"
    with pytest.raises(DeviceFault) as caught:
        await reader.read(0, 4)  # connected again, but not with this handle
    assert caught.value.fault is Fault.UNREACHABLE
    again.close()
    reader.close()


async def test_blobs_spread_over_a_few_connections(node: Node) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 1)
    count = 2 * BULK_CONNECTIONS_MAX * BLOBS_PER_CONNECTION
    writers = [
        await device.create_blob(blob_header(blob_name(number)), soon()) for number in range(count)
    ]
    assert len(bulk_sessions(node)) == BULK_CONNECTIONS_MAX
    for writer in writers:
        await writer.commit()
    assert len(await device.list_blobs(None, 1000)) == count
    assert await name_is_free(peer, blob_name(1000))
    assert len(bulk_sessions(node)) == BULK_CONNECTIONS_MAX


async def test_a_pool_gives_places_back(node: Node) -> None:
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(node.connection(role=Role.BULK, keep=False))
        return made[-1]

    pool = BulkPool(connect)
    for _ in range(100):
        handle = await pool.lease(soon())
        handle.end(1, tell=True)
        handle.end(1, tell=True)
    assert len(made) == 1
    pool.close()


async def test_without_a_server_there_is_no_place(tmp_path: Path) -> None:
    node = Node(str(tmp_path / "nobody.sock"))
    device = WireDevice(node.peer(), 1)
    for _ in range(3):
        with pytest.raises(DeviceFault) as caught:
            await device.create_blob(blob_header(NAME), soon())
        assert caught.value.fault is Fault.UNREACHABLE
    await node.close()


async def bulk(node: Node) -> Connection:
    connection = node.connection(role=Role.BULK, keep=False)
    await connection.ready(soon())
    return connection


async def test_who_overruns_the_window_is_cut_off(node: Node) -> None:
    connection = await bulk(node)
    assert connection._link is not None
    send = connection._link.send
    head = encode((1, CreateBlob(1, blob_header(NAME))))
    send(CREATE_BLOB.kind, head, call=1, epoch=0, ticks=TICKS_MAX)
    for number in range(2, WAITING_MAX + 10):
        head = encode((1, WriteBlob(1)))
        send(WRITE_BLOB.kind, head, b"x", call=number, epoch=0, ticks=TICKS_MAX)
    await until(lambda: not connection.connected)


async def test_a_handle_begins_once(node: Node) -> None:
    connection = await bulk(node)
    header = blob_header(NAME)
    await connection.request(CREATE_BLOB, 1, CreateBlob(1, header), soon())
    with pytest.raises(DeviceFault, match="connection lost"):
        await connection.request(CREATE_BLOB, 1, CreateBlob(1, header), soon())


async def test_handles_are_for_what_they_were_opened_for(node: Node) -> None:
    connection = await bulk(node)
    await connection.request(CREATE_BLOB, 1, CreateBlob(1, blob_header(NAME)), soon())
    with pytest.raises(DeviceFault, match="not open for reading"):
        await connection.request(READ_BLOB, 1, ReadBlob(1, 0, 0), soon())
    with pytest.raises(DeviceFault, match="not open any more"):
        await connection.request(WRITE_BLOB, 1, WriteBlob(2), soon(), b"x")
    peer = await node.connected()
    writer = await WireDevice(peer, 1).create_blob(blob_header(blob_name(2)), soon())
    await writer.write(bytes(2 * PIECE_MAX_BYTES))
    await writer.commit()
    await connection.request(OPEN_BLOB, 1, OpenBlob(3, blob_name(2)), soon())
    with pytest.raises(DeviceFault, match="not open for writing"):
        await connection.request(WRITE_BLOB, 1, WriteBlob(3), soon(), b"x")
    with pytest.raises(DeviceFault, match="a piece is at most"):
        await connection.request(READ_BLOB, 1, ReadBlob(3, 0, PIECE_MAX_BYTES + 1), soon())
    with pytest.raises(ValueError, match="outside a blob"):
        await connection.request(READ_BLOB, 1, ReadBlob(3, 2 * PIECE_MAX_BYTES, 1), soon())


async def test_a_create_that_was_given_up_is_undone(node: Node) -> None:
    peer = await node.connected()
    for turns in range(12):
        creating = asyncio.ensure_future(
            WireDevice(peer, 1).create_blob(blob_header(blob_name(turns)), soon())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        creating.cancel()
        (outcome,) = await asyncio.gather(creating, return_exceptions=True)
        if not isinstance(outcome, BaseException):
            await outcome.abort()
        await eventually_free(peer, blob_name(turns))
