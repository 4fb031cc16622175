"""Calls to a process itself, and the epochs in which row calls are made."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.contract import DeviceFault
from storage.fence import CLOSED
from storage.memory import MemoryDevice
from storage.node import KEEPER_DEVICE, NodeFacts, Progress
from storage.types import Failed, Fault, Read, Row, RowAnswer
from storage.wire.client import WireDevice
from storage.wire.messages import RING_PIECE_BYTES
from tests.contract.wire.node import CLOCK, Node, ask, running_node, soon, until

READ = Read(b"shard", b"name")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as made:
        yield made
        assert made.failures == []


async def answer(device: WireDevice) -> RowAnswer:
    answers = ask(device, READ)
    await until(lambda: bool(answers))
    return answers[0][0]


async def test_a_peer_says_who_it_is(node: Node) -> None:
    peer = await node.connected()
    facts = await peer.facts(soon())
    assert facts == NodeFacts("node-b", 1, 2, {1: 1, 2: 1, 3: 0})
    assert [facts.owner(device) for device in (1, 3, 8, 9)] == [1, 0, 0, 1]


async def test_a_peer_says_how_far_it_is(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = 12
    assert await peer.progress(soon()) == Progress(12, 3, 4, 5, 6, 7)
    assert await peer.report(soon()) == b"all is well"


@pytest.mark.parametrize("size", [1, RING_PIECE_BYTES, RING_PIECE_BYTES + 1])
async def test_a_ring_of_any_size_is_fetched(node: Node, size: int) -> None:
    peer = await node.connected()
    node.service.epoch, node.service.ring = 7, (bytes(range(256)) * (size // 256 + 1))[:size]
    assert await peer.ring(6, soon()) == node.service.ring
    assert await peer.ring(7, soon()) == b""
    assert await peer.ring(8, soon()) == b""


async def test_a_ring_that_changes_under_way_is_fetched_whole(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch, node.service.ring = 7, b"old" * RING_PIECE_BYTES
    ring_bytes = node.service.ring_bytes

    def next_epoch() -> bytes:
        """The first piece is of the old ring, all others are of the new one."""
        old = ring_bytes()
        node.service.epoch, node.service.ring = 8, b"new" * RING_PIECE_BYTES
        return old

    node.service.ring_bytes = next_epoch  # type: ignore[method-assign]
    assert await peer.ring(6, soon()) == b"new" * RING_PIECE_BYTES


async def test_a_process_without_a_ring_has_none(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = 3
    assert await peer.ring(0, soon()) == b""


async def test_a_peer_that_is_away_has_no_answers(node: Node) -> None:
    peer = await node.connected()
    await node.server.close()
    await until(lambda: not peer.calls.connected)
    for call in (peer.facts, peer.progress, peer.report):
        with pytest.raises(DeviceFault):
            await call(soon())
    with pytest.raises(DeviceFault):
        await peer.ring(0, soon())


# -- epochs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [1, 70_000, 65_536])
async def test_row_calls_of_another_epoch_are_refused(node: Node, ours: int) -> None:
    peer = await node.connected()
    device = WireDevice(peer, 1)
    node.service.epoch = ours
    assert isinstance(await answer(device.at(ours)), Row)
    assert await answer(device.at(ours - 1)) == Failed(Fault.EPOCH)
    assert node.service.heard == 0
    assert await answer(device.at(ours + 1)) == Failed(Fault.EPOCH)
    assert node.service.heard == 1


async def test_a_process_between_two_epochs_takes_no_row_calls(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = CLOSED
    for epoch in (0, 1, CLOSED % 2**16):
        assert await answer(WireDevice(peer, 1).at(epoch)) == Failed(Fault.EPOCH)
    assert node.service.heard == 0
    assert await peer.ring(0, soon()) == b""


async def test_a_refused_call_never_reaches_the_device(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = 5
    assert await answer(WireDevice(peer, 2).at(4)) == Failed(Fault.EPOCH)
    assert node.carrier.held == []


async def test_each_handle_has_an_epoch_of_its_own(node: Node) -> None:
    peer = await node.connected()
    first, second = WireDevice(peer, 1).at(1), WireDevice(peer, 1).at(2)
    node.service.epoch = 1
    assert isinstance(await answer(first), Row)
    node.service.epoch = 2
    assert isinstance(await answer(second), Row)
    assert await answer(first) == Failed(Fault.EPOCH)


async def test_a_keeper_is_asked_in_any_epoch(node: Node) -> None:
    node.devices[KEEPER_DEVICE] = MemoryDevice(KEEPER_DEVICE, CLOCK)
    peer = await node.connected()
    node.service.epoch = 5
    keeper = WireDevice(peer, KEEPER_DEVICE)
    for epoch in (0, 4, 5, 6):
        assert isinstance(await answer(keeper.at(epoch)), Row)
    assert node.service.heard == 0


async def test_blob_calls_know_no_epochs(node: Node) -> None:
    peer = await node.connected()
    node.service.epoch = 5
    for epoch in (4, 6):
        assert await WireDevice(peer, 1).at(epoch).list_blobs(None, 1) == []
    assert node.service.heard == 0
