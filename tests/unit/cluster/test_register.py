"""The ring's register over keepers: one row, one winner."""

import asyncio

import pytest

from proxy.cluster.register import ForeignRing, RingRegister, StaleRing, keeper_rows
from proxy.core.errors import Unavailable
from ring.builder import build
from ring.epochs import doubled
from ring.lookup import Ring
from ring.types import Device, default_placements
from runtime.clock import HybridClock, SystemClock
from runtime.randomness import SystemRandomness
from storage.memory import MemoryDevice


def first_ring(cluster_id: str = "0" * 32) -> Ring:
    members = [Device(n, f"{n + 1:032x}", "r", "z", "node", "unix:x", f"/d{n}", 1.0) for n in range(3)]
    return build(members, default_placements(3), 4, 7, cluster_id=cluster_id)


class Keepers:
    """Three keepers and any number of registers over them."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.devices = [MemoryDevice(n, self.clock) for n in range(3)]

    def register(self) -> RingRegister:
        randomness = SystemRandomness()
        stamps = HybridClock(self.clock, randomness.token(8))
        return RingRegister(keeper_rows(self.devices, stamps, self.clock, randomness), randomness)


async def test_there_is_no_ring_at_first() -> None:
    register = Keepers().register()
    assert await register.epoch() == 0
    assert await register.read() is None


async def test_what_one_made_another_reads() -> None:
    keepers = Keepers()
    ring = first_ring()
    await keepers.register().replace(ring)
    other = keepers.register()
    found = await other.read()
    assert found is not None
    assert (found.epoch, found.cluster_id) == (1, ring.cluster_id)
    assert await other.epoch() == 1


async def test_only_the_next_epoch_is_taken() -> None:
    keepers = Keepers()
    first = first_ring()
    second = doubled(first)
    register = keepers.register()
    await register.replace(first)
    with pytest.raises(StaleRing):
        await register.replace(first)
    with pytest.raises(StaleRing):
        await register.replace(doubled(second))
    await register.replace(second)
    assert await register.epoch() == 2


async def test_one_of_two_makers_wins() -> None:
    keepers = Keepers()
    first = first_ring()
    await keepers.register().replace(first)
    second = doubled(first)
    ends = await asyncio.gather(
        *(keepers.register().replace(second) for _ in range(4)), return_exceptions=True
    )
    assert ends.count(None) == 1
    assert sum(isinstance(end, StaleRing) for end in ends) == 3


async def test_another_cluster_s_ring_is_refused() -> None:
    keepers = Keepers()
    await keepers.register().replace(first_ring())
    other = doubled(first_ring("1" * 32))
    with pytest.raises(ForeignRing):
        await keepers.register().replace(other)


async def test_one_keeper_may_be_away_and_two_may_not() -> None:
    keepers = Keepers()
    keepers.devices[0].go_offline()
    register = keepers.register()
    await register.replace(first_ring())
    keepers.devices[1].go_offline()
    with pytest.raises(Unavailable):
        await register.epoch()
