"""A keeper that holds nothing: new among new ones, or one that has lost what it held."""

import asyncio
from typing import Any, ClassVar

import pytest

from proxy.cluster.keeper_start import ROWS, begin_keeper, needed
from runtime.clock import SystemClock
from storage.contract import Deliver, DeviceFault
from storage.device.lane import InlineLane
from storage.keeper import KeeperDevice
from storage.types import Accept, Failed, Fault, Ok, Prepare, Read, Row, RowMessage
from tests.contract.device.words import stamp, update
from tests.crash.crash_images import Image
from tests.crash.recording_disk import RecordingDisk

CLOCK = SystemClock()
SHARD, NAME = ROWS[0]
S = 1_000_000


class Seen:
    """A keeper as another process sees it, or does not."""

    local = False
    device_id = -1

    def __init__(self, keeper: KeeperDevice) -> None:
        self.keeper = keeper
        self.away = False

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        if self.away:
            deliver(Failed(Fault.UNREACHABLE), b"")
        else:
            self.keeper.send(message, payload, deadline, deliver)

    async def status(self) -> dict[str, Any]:
        if self.away:
            raise DeviceFault(Fault.UNREACHABLE)
        return self.keeper.status()


def made(*, held_back: bool = True) -> KeeperDevice:
    disk = RecordingDisk(Image({}, frozenset({"data"}), {}))
    KeeperDevice.create("data/keeper", disk)
    keeper = KeeperDevice.open("data/keeper", disk, CLOCK, InlineLane("keeper"))
    if held_back:
        keeper.hold_back()
    return keeper


async def ask(keeper: KeeperDevice, message: RowMessage, payload: bytes = b"") -> Any:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    keeper.send(message, payload, CLOCK.monotonic() + 10, lambda answer, _: answered.set_result(answer))
    return await answered


async def put(keeper: KeeperDevice, version: bytes, payload: bytes) -> None:
    assert await ask(keeper, Accept(SHARD, NAME, version, 0, 1, b"head"), payload) == Ok()


async def starting(keeper: KeeperDevice, *others: Seen) -> "asyncio.Task[None]":
    task = asyncio.ensure_future(begin_keeper(keeper, others, CLOCK, silence_s=0.0))
    await asyncio.sleep(0)
    return task


async def test_held_back_it_says_nothing() -> None:
    keeper = made()
    for message in (Read(SHARD, NAME), Prepare(SHARD, NAME, stamp(S))):
        answer = await ask(keeper, message)
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.OFFLINE


async def test_new_keepers_begin_together() -> None:
    keepers = [made() for _ in range(3)]
    seen = [Seen(keeper) for keeper in keepers]
    tasks = [
        await starting(keeper, *(one for one in seen if one.keeper is not keeper)) for keeper in keepers
    ]
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert [keeper.offline for keeper in keepers] == ["", "", ""]


async def test_one_that_answers_as_no_keeper_does_ends_nobodys_start() -> None:
    class Odd(Seen):
        answers: ClassVar[list[Any]] = [ValueError("there is no device -1"), {"offline": "", "rows": 0}]

        async def status(self) -> dict[str, Any]:
            answer = self.answers.pop(0) if self.answers else await super().status()
            if isinstance(answer, ValueError):
                raise answer
            return answer

    one, other = made(), made()
    tasks = [await starting(one, Odd(other)), await starting(other, Seen(one))]
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert (one.offline, other.offline) == ("", "")


async def test_all_of_them_wait_for_the_last() -> None:
    keepers = [made() for _ in range(3)]
    seen = [Seen(keeper) for keeper in keepers]
    seen[2].away = True
    tasks = [await starting(keepers[n], seen[1 - n], seen[2]) for n in range(2)]
    await asyncio.sleep(0.3)
    assert all(keeper.offline for keeper in keepers)
    seen[2].away = False
    await asyncio.sleep(0.3)  # it is there, and has not heard of the others yet
    assert all(keeper.offline for keeper in keepers)
    tasks.append(await starting(keepers[2], seen[0], seen[1]))
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert [keeper.offline for keeper in keepers] == ["", "", ""]


async def test_it_takes_over_the_newest_of_what_the_others_hold() -> None:
    keeper, first, second = made(), made(held_back=False), made(held_back=False)
    await put(first, update(0, S), b"old")
    await put(second, update(0, S), b"old")
    await put(second, update(0, 2 * S), b"new")
    await asyncio.wait_for(await starting(keeper, Seen(first), Seen(second)), 10)
    row = await ask(keeper, Read(SHARD, NAME))
    assert isinstance(row, Row)
    assert (row.version, row.head) == (update(0, 2 * S), b"head")
    refused = await ask(keeper, Prepare(SHARD, NAME, stamp(S)))
    assert not isinstance(refused, Row)  # the taken-over version binds as a promise does


async def test_one_other_is_not_enough_to_take_over_from() -> None:
    """Its own old vote and the other one's may be the only two of the newest ring."""
    keeper, lagging, newest = made(), made(held_back=False), made(held_back=False)
    await put(lagging, update(0, S), b"old")
    await put(newest, update(0, 2 * S), b"new")
    away = Seen(newest)
    away.away = True
    task = await starting(keeper, Seen(lagging), away)
    await asyncio.sleep(0.4)
    assert keeper.offline
    away.away = False
    await asyncio.wait_for(task, 10)
    row = await ask(keeper, Read(SHARD, NAME))
    assert row.version == update(0, 2 * S)


async def test_a_promise_alone_makes_a_keeper_no_new_one() -> None:
    other = made(held_back=False)
    assert isinstance(await ask(other, Prepare(SHARD, NAME, stamp(S))), Row)
    assert not other.empty
    assert other.status()["rows"] == 1


@pytest.mark.parametrize(("others", "enough"), [(2, 2), (4, 3)])
def test_every_majority_has_one_of_those_asked(others: int, enough: int) -> None:
    assert needed(others) == enough
    keepers = others + 1
    majority_with_us = keepers // 2  # others in the smallest old majority that we were part of
    assert enough + majority_with_us > others
