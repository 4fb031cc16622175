"""Blobs from create to delete, on a healthy device."""

import asyncio
import random

import pytest

from storage.contract import DeviceFault
from storage.device import blob_format
from storage.device.blob_files import StagedBlob, open_blob_file
from storage.device.blob_staging import BATCH_BYTES, BUFFER_MAX_BYTES, WRITEBACK_BYTES
from storage.types import BlobEntry, BlobName, Fault
from tests.unit.blobs.doors import Device

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3 * MIB + 5])
async def test_what_was_written_is_read(device: Device, size: int) -> None:
    data = random.Random(size).randbytes(size)
    name = await device.put(data)
    assert await device.get(name) == data
    assert device.index.entries[name] == BlobEntry(device.header(), size)
    assert device.files("staging") == []
    assert device.files("blobs") == [f"ab/{'ab' * 16}.0"]
    assert device.path(name).stat().st_size == blob_format.file_bytes(size, 65_536)


async def test_a_read_is_at_most_two_views_and_any_range(device: Device) -> None:
    data = random.Random(1).randbytes(2 * MIB)
    name = await device.put(data)
    reader = await device.blobs.open(name)
    for offset, length in [(0, MIB), (1, MIB), (MIB, MIB), (65_535, 2), (2 * MIB - 1, 1), (5, 0)]:
        views = await reader.read(offset, length)
        assert len(views) <= 2
        assert b"".join(views) == data[offset : offset + length]
    reader.close()
    reader.close()


async def test_views_and_open_blobs_outlive_delete_and_close(device: Device) -> None:
    name = await device.put(b"x" * 100_000)
    reader = await device.blobs.open(name)
    (early,) = await reader.read(0, 10)
    await device.blobs.delete(name)
    assert not device.path(name).exists()
    (late,) = await reader.read(90_000, 10)
    reader.close()
    assert early == late == b"x" * 10


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 101), (101, 0), (100, 1), (1, -1)])
async def test_a_range_outside_the_blob_is_refused(device: Device, offset: int, length: int) -> None:
    reader = await device.blobs.open(await device.put(bytes(100)))
    with pytest.raises(ValueError, match="outside a blob of 100"):
        await reader.read(offset, length)
    reader.close()


async def test_a_closed_reader_reads_no_more(device: Device) -> None:
    reader = await device.blobs.open(await device.put(bytes(100)))
    reader.close()
    with pytest.raises(ValueError, match="was closed"):
        await reader.read(0, 1)


async def test_a_name_is_given_once(device: Device) -> None:
    name = await device.put(b"first")
    with pytest.raises(ValueError, match="exists"):
        await device.blobs.create(device.header())
    assert await device.get(name) == b"first"


async def test_two_writers_of_one_name_do_not_mix(device: Device) -> None:
    first = await device.blobs.create(device.header())
    second = await device.blobs.create(device.header())
    await first.write(bytes(BATCH_BYTES))
    await second.write(b"1" * 10)
    while not device.files("staging"):
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="being written already"):
        await second.commit()
    await first.commit()
    assert await device.get(device.header().name) == bytes(BATCH_BYTES)


async def test_absent_blobs(device: Device) -> None:
    name = BlobName(bytes(16), 0)
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.open(name)
    assert caught.value.fault is Fault.ABSENT
    await device.blobs.delete(name)
    assert await device.blobs.report_corrupt(name)
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.adopt(name)
    assert caught.value.fault is Fault.ABSENT


async def test_delete_is_idempotent(device: Device) -> None:
    name = await device.put(b"data")
    await asyncio.gather(*(device.blobs.delete(name) for _ in range(3)))
    assert device.index.entries == {}
    assert device.files("") == []


async def test_buffers_may_be_reused_after_write(device: Device) -> None:
    writer = await device.blobs.create(device.header())
    expected = b""
    for size in (10, 70_000, 300_000, 5, 1_000_000):
        buffer = bytearray(random.Random(size).randbytes(size))
        expected += buffer
        await writer.write(memoryview(buffer))
        buffer[:] = bytes(size)
    await writer.commit()
    assert await device.get(device.header().name) == expected


async def test_a_blob_has_a_greatest_size(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_format, "DATA_MAX_BYTES", MIB)
    writer = await device.blobs.create(device.header())
    await writer.write(bytes(MIB))
    with pytest.raises(DeviceFault) as caught:
        await writer.write(b"!")
    assert caught.value.fault is Fault.TOO_LARGE
    await writer.abort()
    assert device.files("") == []


async def test_an_ended_writer_takes_nothing(device: Device) -> None:
    writer = await device.blobs.create(device.header())
    await writer.write(b"data")
    await writer.commit()
    for call in (writer.write(b"more"), writer.commit()):
        with pytest.raises(ValueError, match="already finished or aborted"):
            await call
    await writer.abort()
    assert await device.get(device.header().name) == b"data"


async def test_abort_leaves_nothing_and_may_be_repeated(device: Device) -> None:
    writer = await device.blobs.create(device.header())
    await writer.write(bytes(5 * MIB))
    await writer.abort()
    await writer.abort()
    assert device.files("") == []
    assert device.index.entries == {}
    assert await device.put(b"again") == device.header().name


async def test_large_blobs_are_written_back_while_they_come(device: Device) -> None:
    data = random.Random(2).randbytes(20 * MIB)
    writer = await device.blobs.create(device.header())
    for start in range(0, len(data), MIB):
        await writer.write(data[start : start + MIB])
        staged = writer._staged  # type: ignore[attr-defined]
        assert staged._pending_bytes <= BUFFER_MAX_BYTES
    await writer.commit()
    assert await device.get(device.header().name) == data
    spans = [call.split()[1] for call in device.disk.calls if call.startswith("start_writeback")]
    starts = [int(span.split("+")[0]) for span in spans]
    lengths = [int(span.split("+")[1]) for span in spans]
    assert starts == [sum(lengths[:place]) for place in range(len(lengths))]
    assert min(lengths) >= WRITEBACK_BYTES
    assert len(data) - sum(lengths) < WRITEBACK_BYTES


async def test_another_process_writes_and_reads_beside_the_owner(device: Device) -> None:
    staged = StagedBlob(str(device.root), device.disk, device.executor, device.header())
    await staged.write(b"written by a neighbour")
    await staged.finish()
    assert device.files("blobs") == []
    first, second = await asyncio.gather(*(device.blobs.adopt(staged.name) for _ in range(2)))
    assert first == second == BlobEntry(device.header(), 22)
    assert device.files("staging") == []
    reader = await open_blob_file(str(device.root), staged.name, device.disk, device.executor)
    assert b"".join(await reader.read(11, 11)) == b"a neighbour"
    reader.close()
    assert await device.get(staged.name) == b"written by a neighbour"


async def test_the_owner_adopts_only_whole_files(device: Device) -> None:
    staged = StagedBlob(str(device.root), device.disk, device.executor, device.header())
    await staged.write(bytes(1000))
    await staged.finish()
    path = device.root / "staging" / device.files("staging")[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.adopt(staged.name)
    assert caught.value.fault is Fault.CORRUPT
    assert device.files("") == []
    assert device.index.entries == {}


async def test_the_owner_adopts_no_blob_under_another_name(device: Device) -> None:
    staged = StagedBlob(str(device.root), device.disk, device.executor, device.header(1))
    await staged.finish()
    path = device.root / "staging" / device.files("staging")[0]
    path.rename(path.with_suffix(".2"))
    with pytest.raises(DeviceFault) as caught:
        await device.blobs.adopt(device.header(2).name)
    assert caught.value.fault is Fault.CORRUPT
    assert device.files("") == []


async def test_files_left_in_staging_go_at_the_next_start(device: Device) -> None:
    staged = StagedBlob(str(device.root), device.disk, device.executor, device.header())
    await staged.write(bytes(300_000))
    await staged.finish()
    after = Device(device.root)
    await after.blobs.start()
    assert device.files("") == []
    with pytest.raises(DeviceFault) as caught:
        await after.blobs.adopt(staged.name)
    assert caught.value.fault is Fault.ABSENT
    after.executor.shutdown()


async def test_a_long_read_lets_others_have_their_turn(device: Device) -> None:
    data = random.Random(3).randbytes(5 * MIB)
    reader = await device.blobs.open(await device.put(data))
    await reader.read(0, len(data))  # in memory from now on
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    assert b"".join(await reader.read(0, len(data))) == data
    task.cancel()
    assert turns >= 4
    reader.close()
