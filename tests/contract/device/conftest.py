"""The suite's one fixture: each implementation of the device contract in turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from tests.contract.device.engine_rig import ENGINE_RIGS
from tests.contract.device.keeper_rig import KEEPER_RIGS
from tests.contract.device.rigs import RIGS, Rig

ALL_RIGS = {**RIGS, **ENGINE_RIGS, **KEEPER_RIGS}

OF_KEEPERS = "test_registers"
"""The part of the suite that keepers keep, too: they have single rows and nothing else."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the store runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a `rig` runs over every implementation that it is meant for."""
    if "rig" in metafunc.fixturenames:
        keepers = KEEPER_RIGS if metafunc.module.__name__.endswith(OF_KEEPERS) else {}
        metafunc.parametrize("rig", sorted({**RIGS, **ENGINE_RIGS, **keepers}), indirect=True)


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A fresh device."""
    async with ALL_RIGS[request.param](tmp_path) as made:
        yield made
