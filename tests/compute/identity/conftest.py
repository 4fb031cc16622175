"""A process of identity for each test, on either database."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.compute.identity.cloud import Cloud, started


@pytest.fixture
async def cloud(database: str, tmp_path: Path) -> AsyncIterator[Cloud]:
    """One process of identity."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(started(tmp_path, database))
