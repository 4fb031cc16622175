"""The room opened: what a process needs to serve volumes."""

import contextlib
from collections.abc import AsyncIterator

from compute.policy.enforcer import Enforcer
from compute.server.app import Service
from compute.site import Site
from compute.volume.api import ROUTES
from compute.volume.rules import RULES
from compute.volume.service import VolumeService


@contextlib.asynccontextmanager
async def opened(site: Site) -> AsyncIterator[Service]:
    """The service, for as long as the block runs."""
    yield VolumeService(site, Enforcer("volume", RULES, site.policies), ROUTES)
