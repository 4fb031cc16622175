"""Background work yields to requests, never for ever, and keeps to its bytes a second."""

import asyncio

import pytest

from proxy.repair.throttle import (
    READ,
    SHARE_MIN,
    STALE_S,
    TURNS_CHANGE_S,
    TURNS_FIRST,
    TURNS_MAX,
    WRITE,
    ForegroundLatency,
    Latency,
    Pace,
    Throttle,
    next_turns,
    rest_s,
    share,
)
from tests.property.core.world import LoopClock, run

CALM = Latency(0.004, 0.004, 0.002)


def test_calm_requests_leave_all_the_time_and_slow_ones_less_but_never_none() -> None:
    assert share((CALM, CALM), 2.0) == 1.0
    assert share((CALM, CALM._replace(present_s=0.008)), 2.0) == 1.0
    assert share((CALM, CALM._replace(present_s=0.016)), 2.0) == 0.25
    assert share((CALM, CALM._replace(present_s=9.0)), 2.0) == SHARE_MIN
    assert share((Latency(0.0015, 0.0001, 0.002),), 2.0) == 1.0  # nobody waits for anybody


def test_rests_follow_the_share() -> None:
    assert rest_s(0.1, 1.0) == 0.0
    assert rest_s(0.1, 0.25) == pytest.approx(0.3)
    assert rest_s(-1.0, 0.25) == 0.0


async def _requests(latency: ForegroundLatency, elapsed_s: float, for_s: float) -> None:
    for _ in range(int(for_s / 0.05)):
        latency.note(WRITE, elapsed_s)
        latency.latencies()
        await asyncio.sleep(0.05)


def test_the_share_falls_when_requests_get_slow_and_comes_back_with_them() -> None:
    async def scene() -> None:
        clock = LoopClock()
        latency = ForegroundLatency(clock)
        throttle = Throttle(latency, clock, 2.0)
        await _requests(latency, 0.010, 10)
        assert throttle.share() == 1.0
        await _requests(latency, 0.080, 10)
        assert throttle.share() == SHARE_MIN
        await _requests(latency, 0.010, 20)
        assert throttle.share() == 1.0

    run(scene())


def test_what_stays_slow_becomes_the_calm_state() -> None:
    async def scene() -> None:
        clock = LoopClock()
        latency = ForegroundLatency(clock)
        throttle = Throttle(latency, clock, 2.0)
        await _requests(latency, 0.010, 10)
        await _requests(latency, 0.080, 1200)
        assert throttle.share() == 1.0

    run(scene())


def test_a_few_slow_ones_among_many_count() -> None:
    async def scene() -> None:
        clock = LoopClock()
        latency = ForegroundLatency(clock)
        throttle = Throttle(latency, clock, 2.0)
        await _requests(latency, 0.004, 10)
        for turn in range(1000):
            latency.note(WRITE, 0.150 if turn % 100 == 99 else 0.004)
            latency.latencies()
            await asyncio.sleep(0.005)
        assert throttle.share() < 0.5

    run(scene())


def test_without_requests_nothing_holds_background_work_back() -> None:
    async def scene() -> None:
        clock = LoopClock()
        latency = ForegroundLatency(clock)
        throttle = Throttle(latency, clock, 2.0)
        await _requests(latency, 0.010, 10)
        await _requests(latency, 5.0, 10)
        await asyncio.sleep(1)
        throttle.share()
        await asyncio.sleep(STALE_S + 1)
        assert throttle.share() == 1.0

    run(scene())


def test_a_change_of_the_mix_is_no_change_of_the_latency() -> None:
    async def scene() -> None:
        clock = LoopClock()
        latency = ForegroundLatency(clock)
        throttle = Throttle(latency, clock, 2.0)
        for turn in range(400):
            latency.note(READ if turn < 200 else WRITE, 0.0005 if turn < 200 else 0.02)
            assert throttle.share() == 1.0
            await asyncio.sleep(0.05)

    run(scene())


def test_a_limited_pace_keeps_to_its_bytes_a_second() -> None:
    async def scene() -> None:
        clock = LoopClock()
        pace = Throttle(ForegroundLatency(clock), clock, 2.0).pace(10_000_000)
        begun = clock.monotonic()
        for _ in range(100):
            await pace.spend(0.0, 1_000_000)
        assert 8.9 <= clock.monotonic() - begun <= 10.1
        assert pace.rested_s == pytest.approx(clock.monotonic() - begun)

    run(scene())


# -- turns -------------------------------------------------------------------------------------


def test_there_are_more_turns_as_long_as_requests_bear_it() -> None:
    assert next_turns(4, 4, 1.0) == 5
    assert next_turns(4, 3, 1.0) == 4  # nobody waits
    assert next_turns(TURNS_MAX, TURNS_MAX, 1.0) == TURNS_MAX
    assert next_turns(9, 9, 0.9) == 4
    assert next_turns(3, 3, 0.1) == TURNS_FIRST


class _Copying:
    """Copies that are under way until they are told to end."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.begun: list[int] = []
        self.ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    def add(self) -> None:
        number = len(self.tasks)
        self.ends.append(asyncio.Event())
        self.tasks.append(asyncio.ensure_future(self._copy(number)))

    async def _copy(self, number: int) -> None:
        async with self._pace.turn():
            self.begun.append(number)
            await self.ends[number].wait()

    async def end(self) -> None:
        for end in self.ends:
            end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def _copying(copies: int) -> tuple[_Copying, ForegroundLatency]:
    clock = LoopClock()
    latency = ForegroundLatency(clock)
    copying = _Copying(Throttle(latency, clock, 2.0).pace())
    for _ in range(copies):
        copying.add()
    return copying, latency


def test_without_requests_all_copies_are_made_at_the_same_time() -> None:
    async def scene() -> None:
        copying, _ = _copying(20)
        await asyncio.sleep(0.01)
        assert len(copying.begun) == 20
        await copying.end()

    run(scene())


def test_beside_requests_few_are_and_who_waits_gets_on_in_order() -> None:
    async def scene() -> None:
        copying, latency = _copying(0)
        await _requests(latency, 0.004, 1)
        for _ in range(6):
            copying.add()
        await asyncio.sleep(0.01)
        assert copying.begun == [0, 1] == list(range(TURNS_FIRST))
        copying.tasks[2].cancel()  # one that waits
        copying.ends[1].set()
        await asyncio.sleep(0.01)
        assert copying.begun == [0, 1, 3]
        copying.tasks[0].cancel()  # one that is made
        await asyncio.sleep(0.01)
        assert copying.begun == [0, 1, 3, 4]
        await asyncio.sleep(STALE_S + 2 * TURNS_CHANGE_S)  # the requests have ended
        assert copying.begun == [0, 1, 3, 4, 5]
        await copying.end()

    run(scene())


def test_their_number_follows_the_latency() -> None:
    async def scene() -> None:
        copying, latency = _copying(0)
        await _requests(latency, 0.004, 1)
        for _ in range(10):
            copying.add()
        await _requests(latency, 0.004, 5.5)
        assert TURNS_FIRST + 2 <= len(copying.begun) <= TURNS_FIRST + 6
        await _requests(latency, 0.100, 5)
        made = len(copying.begun)
        for number in range(made - TURNS_FIRST):
            copying.ends[number].set()
        await asyncio.sleep(0.01)
        assert len(copying.begun) == made  # fewer under way, and none is begun
        await copying.end()

    run(scene())
