"""Blobs: streamed in, verified out, deleted, listed."""

import asyncio
import random

import pytest

from storage.admission import BLOB_DATA_MAX_BYTES
from storage.contract import BlobWriter, Buffer, DeviceFault
from storage.types import BlobEntry, BlobName, Fault
from tests.contract.device.rigs import Rig
from tests.contract.device.words import blob_header, blob_name

NAME = blob_name(1)
MIB = 1024 * 1024


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def put(rig: Rig, name: BlobName, *pieces: Buffer) -> None:
    await finish(await rig.device.create_blob(blob_header(name), rig.deadline()), *pieces)


async def finish(writer: BlobWriter, *pieces: Buffer) -> None:
    for piece in pieces:
        await writer.write(piece)
    await writer.commit()


async def get(rig: Rig, name: BlobName, offset: int = 0, length: int | None = None) -> bytes:
    reader = await rig.device.open_blob(name, rig.deadline())
    try:
        wanted = reader.size_bytes - offset if length is None else length
        return b"".join(await reader.read(offset, wanted))
    finally:
        reader.close()


async def fault_of_open(rig: Rig, name: BlobName) -> Fault:
    with pytest.raises(DeviceFault) as caught:
        await rig.device.open_blob(name, rig.deadline())
    return caught.value.fault


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, MIB, 5 * MIB + 3])
async def test_a_blob_comes_back_byte_for_byte(rig: Rig, size: int) -> None:
    data = noise(size)
    await put(rig, NAME, data)
    reader = await rig.device.open_blob(NAME, rig.deadline())
    assert reader.header == blob_header(NAME)
    assert reader.size_bytes == size
    assert b"".join(await reader.read(0, size)) == data
    reader.close()


async def test_pieces_of_any_length_are_joined(rig: Rig) -> None:
    lengths = [1, 0, 65_535, 65_536, 70_000, 2 * MIB + 1, 3]
    pieces = [noise(length, seed) for seed, length in enumerate(lengths)]
    await put(rig, NAME, *pieces)
    assert await get(rig, NAME) == b"".join(pieces)


async def test_the_caller_may_reuse_its_buffer_after_a_write(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    buffer = bytearray(MIB)
    for number in range(12):
        buffer[:] = bytes([number]) * MIB
        await writer.write(memoryview(buffer))
    buffer[:] = bytes(MIB)
    await writer.commit()
    assert await get(rig, NAME) == b"".join(bytes([number]) * MIB for number in range(12))


async def test_ranges(rig: Rig) -> None:
    data = noise(3 * MIB + 17)
    await put(rig, NAME, data)
    reader = await rig.device.open_blob(NAME, rig.deadline())
    generator = random.Random(3)
    ranges = [(0, 0), (0, 1), (len(data) - 1, 1), (len(data), 0), (65_535, 2), (0, len(data))]
    ranges += [
        (start, generator.randint(0, len(data) - start))
        for start in (generator.randint(0, len(data)) for _ in range(10))
    ]
    for offset, length in ranges:
        assert b"".join(await reader.read(offset, length)) == data[offset : offset + length]
    reader.close()


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 11), (11, 0), (5, 6), (0, -1)])
async def test_a_range_outside_the_blob_is_a_value_error(rig: Rig, offset: int, length: int) -> None:
    await put(rig, NAME, noise(10))
    reader = await rig.device.open_blob(NAME, rig.deadline())
    with pytest.raises(ValueError, match="outside a blob"):
        await reader.read(offset, length)
    reader.close()


async def test_bytes_stay_valid_after_close(rig: Rig) -> None:
    data = noise(2 * MIB)
    await put(rig, NAME, data)
    reader = await rig.device.open_blob(NAME, rig.deadline())
    views = await reader.read(0, len(data))
    reader.close()
    reader.close()
    await rig.device.delete_blob(NAME, rig.deadline())
    assert b"".join(views) == data


async def test_readers_at_once(rig: Rig) -> None:
    data = noise(2 * MIB)
    await put(rig, NAME, data)
    assert await asyncio.gather(*(get(rig, NAME) for _ in range(20))) == [data] * 20


async def test_blobs_written_at_once_do_not_mix(rig: Rig) -> None:
    blobs = {blob_name(number): noise(MIB + number, number) for number in range(1, 21)}
    await asyncio.gather(*(put(rig, name, data) for name, data in blobs.items()))
    for name, data in blobs.items():
        assert await get(rig, name) == data


async def test_nothing_is_there_before_the_commit(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    await writer.write(noise(MIB))
    assert await fault_of_open(rig, NAME) is Fault.ABSENT
    assert await rig.device.list_blobs(None, 10) == []
    await writer.abort()


async def test_an_aborted_blob_was_never_there_and_its_name_is_free(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    await writer.write(noise(MIB))
    await writer.abort()
    await writer.abort()
    assert await fault_of_open(rig, NAME) is Fault.ABSENT
    await eventually_put(rig, NAME, b"again")
    assert await get(rig, NAME) == b"again"


async def eventually_put(rig: Rig, name: BlobName, data: bytes) -> None:
    """Over the wire an abort is told, not asked: the name is free soon."""
    for _ in range(200):
        try:
            await put(rig, name, data)
        except ValueError:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("the name did not become free")


async def test_an_ended_writer_takes_no_more(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    await writer.commit()
    with pytest.raises(ValueError, match="aborted"):
        await writer.write(b"more")
    with pytest.raises(ValueError, match="aborted"):
        await writer.commit()
    await writer.abort()
    assert await get(rig, NAME) == b""


async def test_a_closed_reader_reads_no_more(rig: Rig) -> None:
    await put(rig, NAME, b"data")
    reader = await rig.device.open_blob(NAME, rig.deadline())
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        await reader.read(0, 1)


async def test_a_name_that_exists_is_a_value_error(rig: Rig) -> None:
    await put(rig, NAME, b"first")
    with pytest.raises(ValueError, match="exists"):
        await rig.device.create_blob(blob_header(NAME), rig.deadline())
    assert await get(rig, NAME) == b"first"


async def test_replicas_of_a_blob_are_blobs_of_their_own(rig: Rig) -> None:
    await put(rig, blob_name(1, 0), b"zero")
    await put(rig, blob_name(1, 1), b"one")
    await rig.device.delete_blob(blob_name(1, 0), rig.deadline())
    assert await get(rig, blob_name(1, 1)) == b"one"


async def test_a_deleted_blob_is_absent_and_deleting_is_idempotent(rig: Rig) -> None:
    await put(rig, NAME, b"data")
    await rig.device.delete_blob(NAME, rig.deadline())
    await rig.device.delete_blob(NAME, rig.deadline())
    assert await fault_of_open(rig, NAME) is Fault.ABSENT
    assert await rig.device.list_blobs(None, 10) == []


async def test_an_open_blob_outlives_its_delete(rig: Rig) -> None:
    data = noise(3 * MIB)
    await put(rig, NAME, data)
    reader = await rig.device.open_blob(NAME, rig.deadline())
    await rig.device.delete_blob(NAME, rig.deadline())
    assert b"".join(await reader.read(0, len(data))) == data
    reader.close()


async def test_blobs_are_listed_in_order_and_in_pages(rig: Rig) -> None:
    names = [blob_name(number, replica) for number in (1, 2, 300) for replica in (0, 1, 11)]
    for name in reversed(names):
        await put(rig, name, bytes(name.number))
    whole = await rig.device.list_blobs(None, 100)
    assert whole == [BlobEntry(blob_header(name), name.number) for name in names]
    assert await rig.device.list_blobs(None, 4) == whole[:4]
    assert await rig.device.list_blobs(names[3], 4) == whole[4:8]
    assert await rig.device.list_blobs(blob_name(2, 5), 100) == whole[5:]
    assert await rig.device.list_blobs(names[-1], 100) == []
    assert await rig.device.list_blobs(None, 0) == []


async def test_damage_is_found_and_set_aside(rig: Rig) -> None:
    data = noise(MIB)
    await put(rig, NAME, data)
    rig.misfortunes.damage_blob(NAME)
    with pytest.raises(DeviceFault) as caught:
        await get(rig, NAME)
    assert caught.value.fault is Fault.CORRUPT
    assert await eventually_absent(rig, NAME)
    assert await rig.device.list_blobs(None, 10) == []


async def eventually_absent(rig: Rig, name: BlobName) -> bool:
    """A client that reads files itself reports damage; the device sets the blob aside soon after."""
    for _ in range(200):
        if await fault_of(rig, name) is Fault.ABSENT:
            return True
        await asyncio.sleep(0.01)
    return False


async def fault_of(rig: Rig, name: BlobName) -> Fault | None:
    try:
        await get(rig, name)
    except DeviceFault as error:
        return error.fault
    return None


async def test_a_full_device_takes_no_blob_and_goes_on_reading(rig: Rig) -> None:
    await put(rig, NAME, b"kept")
    rig.misfortunes.fill()
    with pytest.raises(DeviceFault) as caught:
        await put(rig, blob_name(2), *[noise(MIB)] * 8)
    assert caught.value.fault is Fault.FULL
    assert await get(rig, NAME) == b"kept"
    assert await fault_of_open(rig, blob_name(2)) is Fault.ABSENT
    rig.misfortunes.make_room()
    await put(rig, blob_name(3), b"room")
    assert await get(rig, blob_name(3)) == b"room"


async def test_a_device_that_fills_up_half_way_fails_the_write(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    await writer.write(noise(1000))
    rig.misfortunes.fill()
    with pytest.raises(DeviceFault) as caught:
        await finish(writer, *[noise(MIB)] * 8)
    assert caught.value.fault is Fault.FULL
    await writer.abort()
    assert await fault_of_open(rig, NAME) is Fault.ABSENT


async def test_a_blob_ends_at_its_limit(rig: Rig) -> None:
    writer = await rig.device.create_blob(blob_header(NAME), rig.deadline())
    piece = bytes(8 * MIB)
    with pytest.raises(DeviceFault) as caught:
        await finish(writer, *[piece] * (BLOB_DATA_MAX_BYTES // len(piece)), b"x")
    assert caught.value.fault is Fault.TOO_LARGE
    await writer.abort()
    assert await fault_of_open(rig, NAME) is Fault.ABSENT


async def test_a_malformed_name_is_refused(rig: Rig) -> None:
    with pytest.raises(DeviceFault) as caught:
        await rig.device.create_blob(blob_header(BlobName(b"short", 0)), rig.deadline())
    assert caught.value.fault is Fault.TOO_LARGE


async def test_a_stopped_device_says_so(rig: Rig) -> None:
    rig.misfortunes.stop()
    device = rig.device
    for call in (
        lambda: device.create_blob(blob_header(NAME), rig.deadline()),
        lambda: device.open_blob(blob_name(9), rig.deadline()),
        lambda: device.delete_blob(NAME, rig.deadline()),
        lambda: device.list_blobs(None, 1),
        lambda: device.list_garbage(0, 1),
        lambda: device.forget_garbage([1]),
    ):
        with pytest.raises(DeviceFault) as caught:
            await call()
        assert caught.value.fault is Fault.OFFLINE


async def test_calls_after_their_deadline_are_not_carried_out(rig: Rig) -> None:
    device = rig.device
    await put(rig, NAME, b"kept")
    for call in (
        lambda: device.create_blob(blob_header(blob_name(2)), rig.deadline(-1)),
        lambda: device.open_blob(NAME, rig.deadline(-1)),
        lambda: device.delete_blob(NAME, rig.deadline(-1)),
    ):
        with pytest.raises(DeviceFault) as caught:
            await call()
        assert caught.value.fault in {Fault.DEADLINE, Fault.UNREACHABLE}
    assert await get(rig, NAME) == b"kept"


async def test_a_cancelled_commit_leaves_all_or_nothing(rig: Rig) -> None:
    data = noise(2 * MIB)
    for number in range(1, 9):
        name = blob_name(number)
        writer = await rig.device.create_blob(blob_header(name), rig.deadline())
        await writer.write(data)
        commit = asyncio.ensure_future(writer.commit())
        for _ in range(number - 1):
            await asyncio.sleep(0)
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)
        await writer.abort()
        assert await fault_of(rig, name) in {None, Fault.ABSENT}
        if await fault_of(rig, name) is None:
            assert await get(rig, name) == data


async def test_cancelled_calls_leave_the_device_working(rig: Rig) -> None:
    """Cancelled at any point, create, write and open leave nothing that is in the way."""
    for turns in range(8):
        work = asyncio.ensure_future(put(rig, blob_name(100 + turns), noise(MIB)))
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        reading = asyncio.ensure_future(get(rig, NAME))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await put(rig, NAME, b"still works")
    assert await get(rig, NAME) == b"still works"
