"""Since when a peer is not reached, and asking all for their reports: on a loop whose time jumps."""

import asyncio

import pytest

from runtime.telemetry import Counts
from storage.contract import DeviceFault
from storage.types import Fault
from storage.wire.messages import Pong
from tests.property.core.world import LoopClock, run
from tools.gather import ASK_TIME_S, gather, offset_s
from tools.health.report import ProcessReport, encode
from tools.reach import PING_TIME_S, ProcessName, Reach

NAME = ProcessName("b", 1)


class FakePeer:
    """Answers after `delay_s`; None: never."""

    def __init__(self, delay_s: float | None = 0.01) -> None:
        self.delay_s = delay_s
        self.pings = 0

    async def ping(self, deadline: float) -> Pong:
        self.pings += 1
        left_s = deadline - asyncio.get_running_loop().time()
        if self.delay_s is None or self.delay_s > left_s:
            await asyncio.sleep(left_s)
            raise DeviceFault(Fault.DEADLINE, "timed out")
        await asyncio.sleep(self.delay_s)
        return Pong("1.0", 1, [4, 5])


def test_it_remembers_since_when_and_what_was_served() -> None:
    async def work() -> None:
        clock, peer = LoopClock(), FakePeer()
        reach = Reach(lambda: {NAME: peer}, clock)
        await reach.round()
        assert reach.unreached() == []
        assert reach.round_trip_s == pytest.approx(0.01)
        peer.delay_s = None
        since_ns = clock.now_ns()
        await reach.round()
        assert reach.unreached() == []  # once may happen to anybody
        await reach.round()
        await reach.round()
        (found,) = reach.unreached()
        assert (found.node, found.worker, found.why) == ("b", 1, "timed out")
        assert found.since_ns == since_ns
        assert found.devices == [4, 5]
        peer.delay_s = 0.01
        await reach.round()
        assert reach.unreached() == []

    run(work())


def test_a_slow_peer_delays_no_other_and_one_that_left_is_forgotten() -> None:
    async def work() -> None:
        clock = LoopClock()
        peers = {ProcessName("b", n): FakePeer(None if n == 0 else 0.01) for n in range(20)}
        reach = Reach(lambda: peers, clock)
        began = clock.monotonic()
        for _ in range(3):
            await reach.round()
        assert clock.monotonic() - began < 3 * (3.0 + PING_TIME_S)
        assert [peer.pings for peer in peers.values()] == [3] * 20
        assert [found.worker for found in reach.unreached()] == [0]
        del peers[ProcessName("b", 0)]
        await reach.round()
        assert (reach.peers, reach.unreached()) == (19, [])

    run(work())


# ---- gathering -----------------------------------------------------------------------------------


def report(node: str, now_ns: int = 0) -> ProcessReport:
    return ProcessReport(
        worker=0, pid=1, rss_bytes=1, devices={}, counts=Counts({}, {}), node=node, now_ns=now_ns
    )


def test_all_are_asked_and_the_silent_are_named() -> None:
    async def work() -> None:
        clock = LoopClock()

        async def answers(_deadline: float) -> bytes:
            await asyncio.sleep(0.2)
            ahead = report("b", clock.now_ns() + 5 * 10**9)
            await asyncio.sleep(0.2)
            return encode(ahead)

        async def hangs(_deadline: float) -> bytes:
            await asyncio.sleep(3600)
            return b""

        async def refuses(_deadline: float) -> bytes:
            raise DeviceFault(Fault.UNREACHABLE, "connection refused")

        async def fails(_deadline: float) -> bytes:
            raise OSError(2, "No such file")

        async def talks_nonsense(_deadline: float) -> bytes:
            return b'{"worker": "one"}'

        async def calls_it_invalid(_deadline: float) -> bytes:
            raise ValueError("no such call")

        asks = {
            "b": answers,
            "c": hangs,
            "d": refuses,
            "e": fails,
            "f": talks_nonsense,
            "g": calls_it_invalid,
        }
        others = {ProcessName(node, 0): ask for node, ask in asks.items()}
        began = clock.monotonic()
        found = await gather(report("a"), others, "http://x", clock)
        assert clock.monotonic() - began == pytest.approx(ASK_TIME_S)
        assert [one.report.node for one in found.processes] == ["a", "b"]
        assert found.processes[1].offset_s == pytest.approx(5.0)
        assert found.processes[1].error_s == pytest.approx(0.2)
        assert {one.node: one.why.partition(":")[0] for one in found.silent} == {
            "c": "no answer in 3 s",
            "d": "connection refused",
            "e": "No such file",
            "f": "its report can't be read, perhaps it is of another release",
            "g": "its report can't be read, perhaps it is of another release",
        }

    run(work())


@pytest.mark.parametrize(
    ("theirs_s", "took_s", "offset"), [(0.1, 0.2, 0.0), (3.1, 0.2, 3.0), (-2.0, 1.0, -2.5)]
)
def test_an_offset_is_measured_half_way(theirs_s: float, took_s: float, offset: float) -> None:
    assert offset_s(int((100 + theirs_s) * 1e9), 100 * 10**9, took_s) == pytest.approx(offset)
