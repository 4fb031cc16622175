"""A device with blobs on a temporary directory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.blobs.doors import Device


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    device = Device(tmp_path)
    await device.blobs.start()
    yield device
    await device.blobs.close()
    device.executor.shutdown()
