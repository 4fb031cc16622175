"""The room opened: what a process needs to serve images, and the work that goes on beside requests."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

from compute.image.cache import Cache
from compute.image.call import Images
from compute.image.imports.convert import remove_left
from compute.image.imports.runner import Runner
from compute.image.imports.tasks import give_up
from compute.image.protections import load
from compute.image.rules import RULES
from compute.image.service import ImageService
from compute.image.settings import Settings
from compute.image.sweeper import Sweeper
from compute.policy.enforcer import Enforcer
from compute.site import Site


def images_of(site: Site, settings: Settings) -> Images:
    """The room's own. Raises AtollError where the file of protected properties is wrong."""

    def nobody(_task_id: str) -> None:
        raise AssertionError("no runner is there yet")

    protections = None
    if path := settings.property_protection_file:
        protections = load(path, settings.property_protection_rule_format)
    rules = [*RULES, *(protections.rules if protections else ())]
    enforcer = Enforcer("image", rules, site.policies)
    cache = Cache(f"{site.folder}/image-cache", settings.cache_bytes, site.objects, site.now_us)
    return Images(site, enforcer, settings, Sweeper(site), nobody, cache, protections)


@contextlib.asynccontextmanager
async def opened(site: Site, settings: Settings | None = None) -> AsyncIterator[ImageService]:
    """The service, for as long as the block runs. What this host left half done is undone first."""
    bare = images_of(site, settings or Settings())
    await asyncio.to_thread(remove_left, site.folder)
    await site.database.run(lambda: give_up(bare))
    await site.database.run(bare.sweeper.give_up)
    runner = Runner(bare)
    images = dataclasses.replace(bare, spawn=runner.spawn)
    sweeping = asyncio.create_task(images.sweeper.run(), name="image sweeper")
    caching = asyncio.create_task(images.cache.run(), name="image cache")
    try:
        yield ImageService(images)
    finally:
        await runner.stop()
        for task in (sweeping, caching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
