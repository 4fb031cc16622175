"""The suite's one fixture: each implementation of the device contract in turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from tests.contract.device.engine_rig import ENGINE_RIGS
from tests.contract.device.rigs import RIGS, Rig

ALL_RIGS = {**RIGS, **ENGINE_RIGS}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the store runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=sorted(ALL_RIGS))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A fresh device."""
    async with ALL_RIGS[request.param](tmp_path) as made:
        yield made
