"""Whatever is lost, moved, overwritten and killed in between: every object ends whole and at home.

Devices are wiped, copies damaged, the ring changed and its partitions doubled, while clients write,
delete and read and the repair workers are killed at any await and begun anew.
"""

import asyncio

import pytest

from tests.property.core.world import run
from tests.property.repair.store_world import KEYS, ORPHAN_GRACE_S, StoreWorld

TURNS = 12


async def live(world: StoreWorld) -> None:
    """A few misfortunes, each repaired in the end before the next, and clients all the time."""
    await world.begin()
    busy = [
        asyncio.ensure_future(world.use(world.proxy(), container, keys, TURNS))
        for container in world.containers
        for keys in (KEYS[:3], KEYS[3:])
    ]
    busy += [
        asyncio.ensure_future(world.watch(world.proxy(), container, TURNS))
        for container in world.containers
    ]
    await asyncio.sleep(world.random.uniform(0.5, 3.0))
    for misfortune in world.random.sample(
        [world.wipe, world.damage, world.change_ring, world.change_ring, world.double], 3
    ):
        misfortune()
        await world.repair_and_die()
        await world.repair(grace_s=world.grace_s, orphan_grace_s=ORPHAN_GRACE_S, settle_s=0.0)
    await asyncio.gather(*busy)
    await world.idle()
    await asyncio.sleep(ORPHAN_GRACE_S)
    await world.repair(grace_s=0.0, orphan_grace_s=0.0, settle_s=0.0)
    await world.check()


@pytest.mark.parametrize("seed", range(10))
def test_every_object_ends_whole_and_at_home(seed: int) -> None:
    run(live(StoreWorld(seed)))
