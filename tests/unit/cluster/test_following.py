"""A process follows the ring whatever one of its steps meets, and tells all who wait for an epoch."""

from collections.abc import Callable, Coroutine

import pytest

from proxy.cluster.adoption import Adoption
from proxy.cluster.follower import Follower
from proxy.cluster.register import ForeignRing, RingRegister, keeper_rows
from proxy.core.placement import Placement
from ring.lookup import Ring
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from storage.device.identity import DeviceInUse
from storage.fence import Fence
from storage.memory import MemoryDevice
from tests.property.core.world import LoopClock, run
from tests.unit.cluster.test_settle import ring_of

FIRST, SECOND, THIRD = (ring_of(epoch, [0, 1, 2]) for epoch in (1, 2, 3))


class Host:
    """A RingHost of which `prepare` raises what `fails` holds, once each."""

    def __init__(self) -> None:
        self.fails: list[Exception] = []

    async def prepare(self, ring: Ring) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def empty_newcomers(self, ring: Ring) -> None:
        return

    async def keep(self, ring: Ring) -> None:
        return

    async def flush(self) -> None:
        return


class Process:
    """What follows the ring, over one keeper. told: epochs by who was told of them."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        stamps, randomness = HybridClock(self.clock, b"process1"), SeededRandomness(1)
        rows = keeper_rows([MemoryDevice(-1, self.clock)], stamps, self.clock, randomness)
        self.register = RingRegister(rows, randomness)
        self.host = Host()
        self.fence = Fence(1)
        self.adoption = Adoption(FIRST, self.fence, Placement(FIRST, {}, {}), self.host)
        self.problems: list[Exception] = []
        self.follower = Follower(
            self.adoption, self.register, list, self.clock, randomness, self.problems.append
        )
        self.told: list[tuple[str, int]] = []

    def tells(self, name: str, fails: list[Exception]) -> None:
        """Have `name` told; the first times it raises these."""

        async def tell(ring: Ring) -> None:
            if fails:
                raise fails.pop(0)
            self.told.append((name, ring.epoch))

        self.adoption.on_adopted.append(tell)

    async def publish(self, *rings: Ring) -> None:
        for ring in rings:
            await self.register.replace(ring)


def scene(play: Callable[[Process], Coroutine[None, None, None]]) -> None:
    async def played() -> None:
        process = Process()
        await process.publish(FIRST)
        await play(process)

    run(played())


def test_where_one_who_is_told_fails_the_others_are_told_and_it_is_told_again() -> None:
    async def play(process: Process) -> None:
        process.tells("let go", [OSError("can't close")])
        process.tells("settle", [])
        await process.publish(SECOND)
        assert not await process.follower.look()
        assert process.follower.epoch == process.fence.epoch == 2
        assert process.told == [("settle", 2)]
        assert await process.follower.look()
        assert process.told == [("settle", 2), ("let go", 2)]
        assert await process.follower.look()
        assert len(process.told) == 2
        assert [str(problem) for problem in process.problems] == ["can't close"]

    scene(play)


def test_who_has_not_been_told_is_told_of_the_newest_ring_alone() -> None:
    async def play(process: Process) -> None:
        process.tells("let go", [OSError("can't close")])
        await process.publish(SECOND)
        assert not await process.follower.look()
        await process.publish(THIRD)
        assert await process.follower.look()
        assert process.told == [("let go", 3)]

    scene(play)


@pytest.mark.parametrize("problem", [DeviceInUse("another has it"), ForeignRing("not ours")])
def test_no_error_of_the_store_ends_the_following(problem: Exception) -> None:
    async def play(process: Process) -> None:
        await process.publish(SECOND)
        process.host.fails.append(problem)
        assert not await process.follower.look()
        assert process.problems == [problem]
        assert (process.follower.epoch, process.fence.epoch) == (1, 1)
        assert await process.follower.look()
        assert (process.follower.epoch, process.fence.epoch) == (2, 2)

    scene(play)
