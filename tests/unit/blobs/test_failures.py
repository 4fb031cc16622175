"""A disk that refuses: full, failing, or out of reach."""

import errno

import pytest

from storage.contract import BlobWriter, DeviceFault
from storage.device import blob_staging
from storage.types import Fault
from tests.unit.blobs.doors import Device

MIB = 1024 * 1024


async def fill(device: Device, size: int) -> DeviceFault:
    """Write until refused; the fault."""
    writer = await device.blobs.create(device.header())
    with pytest.raises(DeviceFault) as caught:
        await write_all(writer, size)
    await writer.abort()
    return caught.value


async def write_all(writer: BlobWriter, size: int) -> None:
    for _ in range(size // MIB):
        await writer.write(bytes(MIB))
    await writer.commit()


@pytest.mark.parametrize("room", [0, 4096, MIB, 12 * MIB - 10, 12 * MIB + 4096 + 8 * 192])
async def test_a_full_disk_is_said_and_leaves_nothing(device: Device, room: int) -> None:
    kept = await device.put(b"kept", device.header(9))
    device.disk.room = room
    assert (await fill(device, 12 * MIB)).fault is Fault.FULL
    assert device.files("staging") == []
    assert list(device.index.entries) == [kept]
    assert await device.get(kept) == b"kept"
    assert device.failures == []
    device.disk.room = None
    assert await device.get(await device.put(b"resumed")) == b"resumed"


async def test_blobs_leave_a_reserve(device: Device) -> None:
    device.disk.free = blob_staging.RESERVE_BYTES - 1
    assert (await fill(device, MIB)).fault is Fault.FULL
    device.disk.free = blob_staging.RESERVE_BYTES
    writer = await device.blobs.create(device.header())
    await writer.write(bytearray(MIB))
    device.disk.free -= 1
    with pytest.raises(DeviceFault) as caught:
        await write_all(writer, 8 * MIB)
    assert caught.value.fault is Fault.FULL
    await writer.abort()
    assert device.files("") == []


async def test_a_failed_write_stays_failed(device: Device) -> None:
    writer = await device.blobs.create(device.header())
    device.disk.room = 0
    with pytest.raises(DeviceFault):
        await writer.write(bytearray(MIB))
    device.disk.room = None
    for call in (writer.write(b"more"), writer.commit()):
        with pytest.raises(DeviceFault) as caught:
            await call
        assert caught.value.fault is Fault.FULL
    await writer.abort()
    assert device.files("") == []


@pytest.mark.parametrize("call", ["append", "sync", "sync_dir", "rename"])
async def test_a_failing_device_stops_serving(device: Device, call: str) -> None:
    kept = await device.put(b"kept", device.header(9))
    device.disk.faults[call] = errno.EIO
    assert (await fill(device, MIB)).fault is Fault.OFFLINE
    device.disk.faults.clear()
    assert [error.errno for error in device.failures if isinstance(error, OSError)] == [errno.EIO]
    for refused in (
        device.blobs.create(device.header()),
        device.blobs.open(kept),
        device.blobs.delete(kept),
        device.blobs.adopt(device.header().name),
    ):
        with pytest.raises(DeviceFault) as caught:
            await refused
        assert caught.value.fault is Fault.OFFLINE
    assert list(device.index.entries) == [kept]


async def test_a_lack_of_descriptors_stops_one_writer_only(device: Device) -> None:
    device.disk.faults["create"] = errno.EMFILE
    assert (await fill(device, MIB)).fault is Fault.OFFLINE
    device.disk.faults.clear()
    assert device.failures == []
    await device.put(b"data")


async def test_a_refused_record_leaves_no_blob(device: Device) -> None:
    device.index.refusal = DeviceFault(Fault.FULL)
    assert (await fill(device, MIB)).fault is Fault.FULL
    assert device.files("") == []


async def test_an_unknown_record_leaves_the_file_to_the_next_start(device: Device) -> None:
    device.index.refusal = DeviceFault(Fault.OFFLINE)
    assert (await fill(device, MIB)).fault is Fault.OFFLINE
    assert device.files("") == [f"blobs/ab/{'ab' * 16}.0"]


async def test_the_order_is_data_sync_rename_directory_record(device: Device) -> None:
    await device.put(b"first", device.header(1))
    device.disk.calls.clear()
    await device.put(b"data")
    kept = ["append", "sync", "rename", "sync_dir"]
    assert [c for c in device.disk.calls if c in kept] == ["append"] * 3 + kept[1:]
