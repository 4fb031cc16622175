"""Works towards one end: who wins, who is cancelled, and that nothing is left over."""

import asyncio

import pytest

from runtime.tasks import Race
from tests.property.core.world import run


class Slip(Exception):
    pass


async def after(seconds: float, value: int, ended: list[int] | None = None) -> int:
    try:
        await asyncio.sleep(seconds)
    finally:
        if ended is not None:
            ended.append(value)
    if value < 0:
        raise Slip
    return value


def test_the_first_good_one_wins_and_the_others_are_cancelled() -> None:
    async def scene() -> None:
        ended: list[int] = []
        async with Race[int](Slip) as race:
            race.start(0, after(9.0, 10, ended))
            assert not await race.step(1.0)
            race.start(1, after(1.0, -1, ended))
            assert await race.step(5.0)
            assert set(race.failed) == {1}
            race.start(2, after(1.0, 12, ended))
            assert await race.step(None)
            assert race.take() == 12
            assert race.running == {0}
            assert race.begun == {0, 1}
        assert asyncio.get_running_loop().time() == 3.0
        assert ended == [-1, 12, 10]

    run(scene())


def test_other_errors_are_raised() -> None:
    async def wrong() -> int:
        raise KeyError

    async def scene() -> None:
        async with Race[int](Slip) as race:
            race.start(0, wrong())
            await race.step(None)

    with pytest.raises(KeyError):
        run(scene())


@pytest.mark.parametrize("cancel_at", [0.5, 1.0, 1.5])
def test_whatever_nobody_took_is_undone(cancel_at: float) -> None:
    async def stubborn(value: int) -> int:
        try:
            await asyncio.sleep(2.0)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
        return value

    undone: list[int] = []

    async def undo(value: int) -> None:
        undone.append(value)

    async def work() -> None:
        async with Race[int](Slip, undo) as race:
            race.start(0, after(1.0, 7))
            race.start(1, stubborn(8))
            await race.step(None)
            await asyncio.sleep(9.0)

    async def scene() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(cancel_at)
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()  # also while it waits for those that don't end at once
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 8 in undone
        assert (7 in undone) == (cancel_at >= 1.0)

    run(scene())
