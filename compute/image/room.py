"""The room opened: what a process needs to serve images."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from compute.image.metadefs.rules import RULES as METADEF_RULES
from compute.image.service import ImageService
from compute.policy.enforcer import Enforcer, Rule
from compute.server.app import Service
from compute.site import Site

RULES: Final = [Rule("context_is_admin", "role:admin"), *METADEF_RULES]


@contextlib.asynccontextmanager
async def opened(site: Site) -> AsyncIterator[Service]:
    """The service, for as long as the block runs."""
    yield ImageService(site, Enforcer("image", RULES, site.policies))
