"""A device is what the ring says it is, or it does not take part."""

import shutil
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.config import Config
from runtime.disk import RealDisk
from runtime.errors import AtollError
from runtime.randomness import SeededRandomness, SystemRandomness
from storage.device.engine import Device
from storage.device.identity import DeviceRefused, Identity
from storage.device.opening import format_device
from tools.data import prepare

CLUSTER = "c" * 32
WHO = Identity(3, CLUSTER, b"i" * 16)


async def opened(path: Path, incarnation: bytes) -> None:
    device = await Device.open(
        str(path),
        RealDisk(),
        SystemClock(),
        SystemRandomness(),
        device_id=3,
        cluster=CLUSTER,
        incarnation=incarnation,
    )
    assert device.incarnation == incarnation
    await device.close()


async def test_a_formatted_device_opens_again_and_again(tmp_path: Path) -> None:
    format_device(str(tmp_path / "d"), RealDisk(), WHO)
    format_device(str(tmp_path / "d"), RealDisk(), WHO)
    await opened(tmp_path / "d", WHO.incarnation)
    await opened(tmp_path / "d", WHO.incarnation)


async def test_an_empty_directory_is_a_wiped_device(tmp_path: Path) -> None:
    for _ in range(2):  # nor is it made one by trying
        with pytest.raises(DeviceRefused, match="wiped"):
            await opened(tmp_path / "d", WHO.incarnation)


async def test_a_device_that_was_formatted_anew_is_another_one(tmp_path: Path) -> None:
    format_device(str(tmp_path / "d"), RealDisk(), WHO._replace(incarnation=b"j" * 16))
    with pytest.raises(DeviceRefused, match="anew"):
        await opened(tmp_path / "d", WHO.incarnation)


def test_nothing_is_formatted_over_another_device(tmp_path: Path) -> None:
    format_device(str(tmp_path / "d"), RealDisk(), WHO)
    with pytest.raises(DeviceRefused, match="another device"):
        format_device(str(tmp_path / "d"), RealDisk(), WHO._replace(device_id=4))


def test_a_first_start_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"), devices=3, part_power=4)
    first = prepare(config, SeededRandomness(1)).ring
    assert first
    identity = tmp_path / "data" / "devices" / "d2" / "device.toml"
    before = identity.read_bytes()
    (tmp_path / "data" / "formatted").unlink()
    shutil.rmtree(identity.parent)
    again = prepare(config, SeededRandomness(2)).ring
    assert again
    assert again.cluster_id == first.cluster_id
    assert identity.read_bytes() == before


def test_a_later_start_formats_nothing(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"), devices=3, part_power=4)
    prepare(config, SeededRandomness(1))
    identity = tmp_path / "data" / "devices" / "d2" / "device.toml"
    identity.unlink()
    prepare(config, SeededRandomness(2))
    assert not identity.exists()


def test_a_ring_of_another_cluster_is_refused(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"), devices=3, part_power=4)
    prepare(config, SeededRandomness(1))
    (tmp_path / "data" / "ring").unlink()
    with pytest.raises(AtollError, match="cluster"):
        prepare(config, SeededRandomness(2))
