"""A process of the add-on for each test, on either database, and a client of its volumes."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.compute.identity.cloud import started
from tests.compute.volume.cloud import Volumes


@pytest.fixture
async def volumes(database: str, tmp_path: Path) -> AsyncIterator[Volumes]:
    """One process."""
    async with contextlib.AsyncExitStack() as stack:
        yield Volumes(await stack.enter_async_context(started(tmp_path, database)))
