"""Another node is asked who it is until it says so."""

from pathlib import Path

import pytest

from runtime.randomness import SystemRandomness
from storage.contract import DeviceFault
from storage.node import NodeFacts
from storage.types import Fault, Read, Row
from storage.wire.client import Peer
from storage.wire.connection import UnixAddress
from tests.contract.wire.node import CLOCK, SECRET, ask, running_node, until
from tools import remote_node
from tools.remote_node import RemoteDevice, RemoteNode


class Busy(Peer):
    """Does not say who it is the first few times, and keeps its link."""

    refusals = 3

    async def facts(self, deadline: float) -> NodeFacts:
        if self.refusals:
            self.refusals -= 1
            raise DeviceFault(Fault.DEADLINE)
        return await super().facts(deadline)


async def test_a_node_that_was_too_busy_to_say_who_it_is_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_node, "ASK_AGAIN_S", 0.01)
    async with running_node(tmp_path) as node:

        def make_peer(_host: str, _port: int) -> Peer:
            return Busy(UnixAddress(node.path), SECRET, CLOCK, SystemRandomness(), node.tasks)

        remote = RemoteNode("127.0.0.1:1", make_peer, CLOCK, node.tasks)
        remote.start()
        try:
            await until(lambda: remote.connected)
            assert len(remote.processes) == 2
            await until(lambda: all(peer.calls.connected for peer in remote.processes))
            answers = ask(RemoteDevice(remote, 1).at(0), Read(b"shard", b"name"))  # type: ignore[arg-type]
            await until(lambda: bool(answers))
            assert type(answers[0][0]) is Row
        finally:
            remote.close()
        assert node.failures == []
