"""The suite's one fixture: each implementation of the device contract in turn."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.device.rigs import RIGS, Rig


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A fresh device."""
    async with RIGS[request.param](tmp_path) as made:
        yield made
