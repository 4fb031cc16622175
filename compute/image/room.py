"""The room opened: what a process needs to serve images, and the work that goes on beside requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from compute.image.call import Images
from compute.image.rules import RULES
from compute.image.service import ImageService
from compute.image.settings import Settings
from compute.image.sweeper import Sweeper
from compute.policy.enforcer import Enforcer
from compute.server.app import Service
from compute.site import Site


def images_of(site: Site, settings: Settings) -> Images:
    """The room's own."""
    return Images(site, Enforcer("image", RULES, site.policies), settings, Sweeper(site))


@contextlib.asynccontextmanager
async def opened(site: Site, settings: Settings | None = None) -> AsyncIterator[Service]:
    """The service, for as long as the block runs. What this host left half done is undone first."""
    images = images_of(site, settings or Settings())
    await site.database.run(images.sweeper.give_up)
    sweeping = asyncio.create_task(images.sweeper.run(), name="image sweeper")
    try:
        yield ImageService(images)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
