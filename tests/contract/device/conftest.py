"""The suite's one fixture: each implementation of the device contract in turn."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.device.engine_rig import ENGINE_RIGS
from tests.contract.device.rigs import RIGS, Rig

ALL_RIGS = {**RIGS, **ENGINE_RIGS}


@pytest.fixture(params=sorted(ALL_RIGS))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A fresh device."""
    async with ALL_RIGS[request.param](tmp_path) as made:
        yield made
