"""A blob file that is not what was written: never served, set aside, and forgotten by the index."""

import asyncio
import errno
import random
import shutil

import pytest

from storage.contract import DeviceFault
from storage.device import blob_format
from storage.device.blob_files import open_blob_file
from storage.types import BlobName, Fault
from tests.unit.blobs.doors import Device

HEADER = blob_format.HEADER_BYTES
DATA = random.Random(7).randbytes(200_000)
FILE_BYTES = blob_format.file_bytes(len(DATA), 65_536)


async def refused(device: Device, name: BlobName, offset: int = 0, length: int | None = None) -> None:
    """The blob can't be read, lies in the quarantine, and a good copy can take its place."""
    with pytest.raises(DeviceFault) as caught:
        await device.get(name, offset, length)
    assert caught.value.fault is Fault.CORRUPT
    assert not device.path(name).exists()
    assert [text.startswith(f"{name.id.hex()}.{name.number}.") for text in device.files("quarantine")]
    assert name not in device.index.entries
    with pytest.raises(DeviceFault) as caught:
        await device.get(name)
    assert caught.value.fault is Fault.ABSENT
    assert await device.put(DATA) == name
    assert await device.get(name) == DATA


def flip(device: Device, name: BlobName, place: int) -> None:
    with device.path(name).open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize(
    "place",
    [
        0,
        20,
        HEADER - 1,
        HEADER,
        HEADER + 65_536,
        HEADER + len(DATA) - 1,
        HEADER + len(DATA),
        HEADER + len(DATA) + 31,
        *range(FILE_BYTES - blob_format.FOOTER_BYTES, FILE_BYTES, 5),
        FILE_BYTES - 1,
    ],
)
@pytest.mark.parametrize("cold", [False, True])
async def test_a_flipped_byte_is_never_served(device: Device, place: int, cold: bool) -> None:
    name = await device.put(DATA)
    device.disk.cold = cold
    flip(device, name, place)
    await refused(device, name)


async def test_a_byte_that_flips_under_an_open_reader_is_not_served(device: Device) -> None:
    name = await device.put(DATA)
    reader = await device.blobs.open(name)
    assert b"".join(await reader.read(0, 10)) == DATA[:10]
    flip(device, name, HEADER + 5)
    with pytest.raises(DeviceFault) as caught:
        await reader.read(0, 10)
    assert caught.value.fault is Fault.CORRUPT
    assert b"".join(await reader.read(70_000, 10)) == DATA[70_000:70_010]
    reader.close()
    assert len(device.files("quarantine")) == 1


async def test_a_range_beside_the_damage_is_served(device: Device) -> None:
    name = await device.put(DATA)
    flip(device, name, HEADER + 70_000)
    assert await device.get(name, 0, 65_536) == DATA[:65_536]
    assert await device.get(name, 131_072) == DATA[131_072:]
    await refused(device, name, 131_071, 1)


@pytest.mark.parametrize(
    "size",
    [0, 1, HEADER - 1, HEADER, HEADER + 100_000, FILE_BYTES - 24, FILE_BYTES - 1, FILE_BYTES + 1],
)
async def test_a_file_of_the_wrong_length_is_refused(device: Device, size: int) -> None:
    name = await device.put(DATA)
    with device.path(name).open("r+b") as file:
        file.truncate(size)
    await refused(device, name)


async def test_a_file_cut_under_an_open_reader_is_refused(device: Device) -> None:
    name = await device.put(DATA)
    reader = await device.blobs.open(name)
    with device.path(name).open("r+b") as file:
        file.truncate(HEADER + 10)
    with pytest.raises(DeviceFault) as caught:
        await reader.read(100_000, 1)
    assert caught.value.fault is Fault.CORRUPT
    reader.close()
    assert len(device.files("quarantine")) == 1


async def test_another_blobs_file_is_refused(device: Device) -> None:
    name, other = await device.put(DATA), await device.put(DATA, device.header(1))
    shutil.copy(device.path(other), device.path(name))
    with pytest.raises(DeviceFault) as caught:
        await open_blob_file(str(device.root), name, device.disk, device.executor)
    assert caught.value.fault is Fault.CORRUPT
    await refused(device, name)
    assert await device.get(other) == DATA


async def test_a_header_of_another_blob_is_refused(device: Device) -> None:
    name = await device.put(DATA)
    sound = blob_format.pack_header(device.header())
    device.clock.seconds += 1
    other = blob_format.pack_header(device.header())
    assert other != sound
    assert blob_format.parse_header(other).name == name
    with device.path(name).open("r+b") as file:
        file.write(other)
    await refused(device, name)


async def test_an_older_whole_file_of_the_same_name_is_refused(device: Device) -> None:
    name = await device.put(b"old")
    old = device.path(name).read_bytes()
    await device.blobs.delete(name)
    await device.put(DATA)
    device.path(name).write_bytes(old)
    await refused(device, name)


async def test_a_missing_file_is_forgotten(device: Device) -> None:
    name = await device.put(DATA)
    device.path(name).unlink()
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.open(name)
    assert caught.value.fault is Fault.ABSENT
    assert device.index.entries == {}


@pytest.mark.parametrize("code", [errno.EIO, errno.EUCLEAN])
async def test_an_unreadable_sector_is_a_bad_copy(device: Device, code: int) -> None:
    name = await device.put(DATA)
    device.disk.cold = True
    reader = await device.blobs.open(name)
    device.disk.faults["load"] = code
    with pytest.raises(DeviceFault) as caught:
        await reader.read(0, 1)
    assert caught.value.fault is Fault.CORRUPT
    reader.close()
    assert len(device.files("quarantine")) == 1
    assert device.failures == []


async def test_a_lack_of_descriptors_condemns_no_blob(device: Device) -> None:
    name = await device.put(DATA)
    device.disk.faults["open"] = errno.EMFILE
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.open(name)
    assert caught.value.fault is Fault.OFFLINE
    device.disk.faults.clear()
    assert await device.get(name) == DATA
    assert device.failures == []


async def test_a_report_is_believed_only_when_it_is_true(device: Device) -> None:
    name = await device.put(DATA)
    for chunk in (None, 0, 3, 99, -1):
        assert not await device.blobs.report_corrupt(name, chunk)
    flip(device, name, HEADER + 1)
    assert not await device.blobs.report_corrupt(name, 2)
    assert await device.get(name, 131_072) == DATA[131_072:]
    assert await device.blobs.report_corrupt(name)
    assert device.files("blobs") == []


async def test_a_neighbour_tells_the_owner(device: Device) -> None:
    name = await device.put(DATA)
    flip(device, name, HEADER + 1)
    reader = await open_blob_file(str(device.root), name, device.disk, device.executor)
    with pytest.raises(DeviceFault) as caught:
        await reader.read(0, 1)
    assert caught.value.fault is Fault.CORRUPT
    reader.close()
    assert device.files("quarantine") == []
    assert await device.blobs.report_corrupt(name)
    assert len(device.files("quarantine")) == 1


async def test_many_readers_of_one_bad_blob_set_it_aside_once(device: Device) -> None:
    name = await device.put(DATA)
    readers = [await device.blobs.open(name) for _ in range(4)]
    flip(device, name, HEADER + 1)
    outcomes = await asyncio.gather(*(r.read(0, 9) for r in readers), return_exceptions=True)
    assert all(isinstance(o, DeviceFault) and o.fault is Fault.CORRUPT for o in outcomes)
    assert len(device.files("quarantine")) == 1
    await device.put(DATA)
    with pytest.raises(DeviceFault):
        await readers[0].read(0, 9)  # still the old file
    assert await device.get(name) == DATA
    for reader in readers:
        reader.close()


async def test_what_was_deleted_before_it_was_verified_is_not_bad(device: Device) -> None:
    name = await device.put(DATA)
    assert await device.blobs.verify(name)
    await device.blobs.delete(name)
    assert await device.blobs.verify(name)
    assert device.files("quarantine") == []
