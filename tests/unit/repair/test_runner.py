"""The runner: no error ends a worker, and it can be paused, resumed and told to look at once."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from proxy.repair.contract import Worked, WorkerState, WorkerStatus
from proxy.repair.runner import BACK_OFF_MAX_S, Runner, UnknownWorker, back_off_s
from proxy.repair.throttle import ForegroundLatency, Throttle
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from tests.property.core.world import LoopClock, run


class Scripted:
    """Does what it is told and remembers when."""

    name = "scripted"

    def __init__(self, throttle: Throttle, script: Callable[[int], Worked]) -> None:
        self.pace = throttle.pace()
        self._script = script
        self.at: list[float] = []

    async def work(self) -> Worked:
        self.at.append(asyncio.get_running_loop().time())
        return self._script(len(self.at))

    def status(self) -> WorkerStatus:
        return WorkerStatus(name=self.name, done=len(self.at))


class Rig:
    def __init__(self, script: Callable[[int], Worked], look_again_s: float = 60.0) -> None:
        clock = LoopClock()
        self.failures: list[BaseException] = []
        self.tasks = TaskOwner("test", lambda _name, error: self.failures.append(error))
        throttle = Throttle(ForegroundLatency(clock), clock, 2.0)
        self.runner = Runner(self.tasks, throttle, clock, SeededRandomness(1))
        self.worker = Scripted(throttle, script)
        self.runner.add(self.worker, look_again_s)

    @property
    def state(self) -> WorkerState:
        return self.runner.statuses()[0].state


def test_a_failing_worker_is_tried_again_later_and_later_and_its_error_is_told() -> None:
    async def scene() -> None:
        def script(turn: int) -> Worked:
            if turn <= 4:
                raise OSError(f"turn {turn}")
            return Worked.IDLE

        rig = Rig(script)
        rig.runner.start()
        await asyncio.sleep(0.5)
        assert rig.state is WorkerState.FAILING
        await asyncio.sleep(29.5)
        gaps = [b - a for a, b in itertools.pairwise(rig.worker.at)]
        assert len(gaps) == 4
        assert all(earlier < later for earlier, later in itertools.pairwise(gaps))
        (status,) = rig.runner.statuses()
        assert (status.last_error, status.state) == ("OSError: turn 4", WorkerState.IDLE)
        assert status.error_at_s > 0
        await rig.tasks.close()
        assert rig.failures == []

    run(scene())


def test_back_off_is_bounded() -> None:
    assert [back_off_s(n) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert back_off_s(10**6) == BACK_OFF_MAX_S


def test_an_idle_worker_looks_again_after_its_interval_or_when_told() -> None:
    async def scene() -> None:
        rig = Rig(lambda _turn: Worked.IDLE, look_again_s=100.0)
        rig.runner.start()
        await asyncio.sleep(1)
        assert len(rig.worker.at) == 1
        rig.runner.run_now("scripted")
        await asyncio.sleep(1)
        assert len(rig.worker.at) == 2
        await asyncio.sleep(125)
        assert len(rig.worker.at) == 3
        await rig.tasks.close()

    run(scene())


def test_a_paused_worker_does_nothing_until_it_is_resumed() -> None:
    async def scene() -> None:
        rig = Rig(lambda turn: Worked.BUSY if turn % 10 else Worked.THROTTLED)
        rig.runner.start()
        await asyncio.sleep(0)
        rig.runner.pause("scripted")
        await asyncio.sleep(1)
        before = len(rig.worker.at)
        rig.runner.run_now("scripted")
        await asyncio.sleep(1000)
        assert len(rig.worker.at) == before
        assert rig.state is WorkerState.PAUSED
        rig.runner.resume("scripted")
        await asyncio.sleep(1)
        assert len(rig.worker.at) > before
        await rig.tasks.close()

    run(scene())


def test_a_worker_woken_in_the_middle_of_a_round_looks_once_more_after_it() -> None:
    async def scene() -> None:
        def script(turn: int) -> Worked:
            if turn == 2:
                rig.runner.run_now("scripted")
            return Worked.IDLE if turn % 5 == 0 else Worked.BUSY

        rig = Rig(script)
        rig.runner.start()
        await asyncio.sleep(1)
        assert len(rig.worker.at) == 10
        await rig.tasks.close()

    run(scene())


def test_a_worker_that_comes_late_runs_too_and_an_unknown_one_is_an_error() -> None:
    async def scene() -> None:
        rig = Rig(lambda _turn: Worked.IDLE)
        rig.runner.start()
        late = Scripted(rig.runner.throttle, lambda _turn: Worked.IDLE)
        rig.runner.add(late)
        await asyncio.sleep(1)
        assert len(late.at) == 1
        with pytest.raises(UnknownWorker):
            rig.runner.pause("nobody")
        await rig.tasks.close()

    run(scene())


def test_a_worker_that_waited_for_something_that_was_cancelled_goes_on() -> None:
    """What ends with its own device or connection must not end the loop without a word."""

    async def scene() -> None:
        def script(turn: int) -> Worked:
            if turn == 1:
                raise asyncio.CancelledError("the connection was closed")
            return Worked.IDLE

        rig = Rig(script)
        rig.runner.start()
        await asyncio.sleep(0.5)
        assert rig.state is WorkerState.FAILING
        await asyncio.sleep(5)
        assert (len(rig.worker.at), rig.state) == (2, WorkerState.IDLE)
        await rig.tasks.close()

    run(scene())


def test_who_is_paused_by_name_is_so_from_the_start_and_whenever_it_comes() -> None:
    async def scene() -> None:
        rig = Rig(lambda _turn: Worked.IDLE)
        runner = Runner(
            rig.tasks, rig.runner.throttle, LoopClock(), SeededRandomness(1), paused=["scripted"]
        )
        runner.add(rig.worker, 0.1)
        runner.start()
        await asyncio.sleep(1)
        assert (rig.worker.at, runner.statuses()[0].state) == ([], WorkerState.PAUSED)
        runner.resume("scripted")
        await asyncio.sleep(1)
        assert rig.worker.at
        runner.pause("scripted")
        later = Scripted(runner.throttle, lambda _turn: Worked.IDLE)
        runner.add(later, 0.1)
        await asyncio.sleep(1)
        assert later.at == []
        await rig.tasks.close()

    run(scene())
