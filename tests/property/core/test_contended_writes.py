"""Writes that ask for the newest version first: linearizable, and only because they ask."""

import asyncio
from collections.abc import Iterator

import pytest

from proxy.core.errors import Unavailable
from proxy.core.register import (
    Machine,
    PlainWrite,
    Send,
    Undone,
    Value,
    majority,
)
from proxy.core.register import (
    Step as MachineStep,
)
from proxy.core.types import ObjectAttributes
from runtime.clock import HybridClock
from storage.types import Read, Row, RowAnswer, Want
from tests.grid import BytesBody
from tests.property.core.world import World as StoreWorld
from tests.property.core.world import run
from tests.property.register.harness import NAME, REPLICAS, SHARD, Client, Rules, World, ruled
from tests.property.register.linearizability import Asked, Put, linearizable
from tests.property.register.test_core_client import (
    CoreOperation,
    Machines,
    core_client,
    value_of,
)

QUORUM = majority(REPLICAS)
RUNS = 1500


class AskFirst:
    """What `Rows` does with a contended row, as one machine."""

    def __init__(self, clock: HybridClock, value: Value) -> None:
        self._clock = clock
        self._value = value
        self._told = 0
        self._write: PlainWrite | None = None

    def begin(self) -> Send:
        return Send([(m, Read(SHARD, NAME, Want.VERSION), b"") for m in QUORUM.order])

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> MachineStep:
        if self._write is not None:
            return self._write.answer(member, answer, payload)
        assert isinstance(answer, Row)
        self._clock.saw(answer.version)
        self._told |= 1 << member
        if not QUORUM.enough[self._told]:
            return None
        self._write = PlainWrite(QUORUM, self._clock, SHARD, NAME, self._value, above=True)
        return self._write.begin()

    def expire(self) -> object:
        return self._write.expire() if self._write is not None else Undone()


def _client(*, ask: bool) -> Client:
    others = core_client(Machines)

    def client(asked: Asked, clock: HybridClock) -> object:
        if not isinstance(asked, Put):
            return others(asked, clock)
        value = value_of(asked.content)
        machine: Machine = (
            AskFirst(clock, value)  # type: ignore[assignment]
            if ask
            else PlainWrite(QUORUM, clock, SHARD, NAME, value, above=True)
        )
        return CoreOperation(machine)

    return client  # type: ignore[return-value]


def _violations(*, ask: bool, runs: int, churn: bool) -> Iterator[int]:
    for seed in range(runs):
        if not linearizable(World(seed, _client(ask=ask), ruled(Rules()), churn).run()):
            yield seed


@pytest.mark.parametrize("churn", [False, True])
def test_every_history_is_linearizable(churn: bool) -> None:
    assert list(_violations(ask=True, runs=RUNS, churn=churn)) == []


def test_without_asking_it_is_not() -> None:
    assert next(_violations(ask=False, runs=4 * RUNS, churn=False), None) is not None


@pytest.mark.parametrize("skew_s", [0.0, 0.05])
def test_many_writers_of_one_key_are_all_answered(skew_s: float) -> None:
    """Once the first of them have met each other."""

    async def scene() -> None:
        world = StoreWorld(1, delay_max_s=0.005)
        stores = [world.proxy(ahead_s=number * skew_s) for number in range(4)]
        container = await stores[0].create_container("a", "c")
        refused = 0

        async def write(number: int, times: int) -> None:
            nonlocal refused
            for _ in range(times):
                body = BytesBody(b"x")
                try:
                    await stores[number % 4].put_object(container, "o", body, ObjectAttributes())
                except Unavailable:
                    refused += 1

        await asyncio.gather(*(write(number, 3) for number in range(64)))
        assert refused < 64
        refused = 0
        await asyncio.gather(*(write(number, 20) for number in range(64)))
        assert refused == 0

    run(scene())
