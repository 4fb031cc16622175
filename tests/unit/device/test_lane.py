"""Lanes: jobs in order, errors as values, an end that waits."""

import asyncio
import threading
from typing import Any

import pytest

from storage.device.lane import InlineLane, Lane, ThreadLane, settle


@pytest.fixture(params=[ThreadLane, InlineLane])
async def lane(request: pytest.FixtureRequest) -> Lane:
    """A lane of each kind."""
    made: Lane = request.param("test")
    return made


async def test_jobs_run_in_order_and_say_how_they_ended(lane: Lane) -> None:
    outcomes: list[Any] = []

    def fails() -> None:
        raise OSError("broken")

    lane.submit(lambda: 1, outcomes.append)
    lane.submit(fails, outcomes.append)
    lane.submit(lambda: 3, outcomes.append)
    assert outcomes == []
    await lane.close()
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], OSError)
    assert outcomes[2] == 3
    await lane.close()


async def test_a_thread_lane_leaves_the_loop_free() -> None:
    lane, gate = ThreadLane("test"), threading.Event()
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def work() -> str:
        gate.wait(10)
        return threading.current_thread().name

    lane.submit(work, lambda outcome: settle(done, outcome))
    await asyncio.sleep(0)
    gate.set()
    assert await done == "test"
    await lane.close()
    with pytest.raises(RuntimeError):
        lane.submit(lambda: None, lambda outcome: None)


async def test_a_cancelled_waiter_is_no_error() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.cancel()
    settle(future, 1)
    assert future.cancelled()
