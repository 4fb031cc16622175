"""Background work yields to requests, never for ever, and keeps to its bytes a second."""

import asyncio

import pytest

from proxy.repair.throttle import (
    READ,
    SHARE_MIN,
    STALE_S,
    WRITE,
    ForegroundLatency,
    Latency,
    Throttle,
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
