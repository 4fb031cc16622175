"""A process of identity and images for each test, on either database."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.image.settings import Settings
from compute.objects.memory import MemoryStore
from tests.compute.image.cloud import Pictures, started


@pytest.fixture
def objects() -> MemoryStore:
    """The store of images' bytes."""
    return MemoryStore()


@pytest.fixture
async def pictures(database: str, tmp_path: Path, objects: MemoryStore) -> AsyncIterator[Pictures]:
    """One process, with two stores."""
    async with contextlib.AsyncExitStack() as stack:
        settings = Settings(stores=("default", "second"), web_hosts=("127.0.0.1",), web_ports=())
        yield await stack.enter_async_context(started(tmp_path, database, objects, settings))
