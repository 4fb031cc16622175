"""A worker's devices come and go one by one: what is wrong with one is not the others' affair."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.device.config import DeviceConfig
from tests.contract.wire.node import CLOCK
from tests.unit.health.clusters import ring_of
from tools.own_devices import OwnDevices


async def test_a_device_that_cannot_be_closed_keeps_no_other_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ring_of()
    mine = [replace(member, path=str(tmp_path / f"d{member.id}")) for member in ring.members[:2]]
    own = OwnDevices(DeviceConfig(), str(tmp_path / "formatted"), RealDisk(), CLOCK, SystemRandomness())
    await own.open(ring, mine)
    first, second = (own._opened[member.id] for member in mine)
    assert not first.status().offline
    closed = first._tables.close

    async def fails() -> None:
        await closed()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(first._tables, "close", fails)
    await own.close()
    assert own.devices == {}
    assert second.status().offline
