"""Cancelled writers: nothing is left behind, or the whole blob."""

import asyncio
from pathlib import Path

import pytest

from storage.contract import BlobWriter, DeviceFault
from storage.device.blob_staging import BATCH_BYTES, BUFFER_MAX_BYTES
from storage.types import Fault
from tests.unit.blobs.doors import Device, HeldExecutor

DATA = bytes(range(256)) * (BATCH_BYTES // 256)


async def turns() -> None:
    """Let the loop settle: everything that is ready has run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def driven(held: HeldExecutor, task: "asyncio.Task[object]") -> None:
    """Run jobs as they come until the task has ended and none is left."""
    while held or not task.done():
        held.run_all()
        await turns()


async def held_device(root: Path) -> tuple[Device, HeldExecutor]:
    held = HeldExecutor()
    device = Device(root, held)
    task = asyncio.ensure_future(device.blobs.start())
    await driven(held, task)
    return device, held


async def write_and_commit(device: Device) -> None:
    writer = await device.blobs.create(device.header())
    await writer.write(DATA)
    await writer.commit()


async def cancelled_after(root: Path, jobs: int) -> Device:
    """Cancel a write and commit after this many jobs; the device when all has settled."""
    device, held = await held_device(root)
    task = asyncio.ensure_future(write_and_commit(device))
    await turns()
    for _ in range(jobs):
        held.run_one()
        await turns()
    task.cancel()
    await turns()
    await driven(held, task)
    while held:
        held.run_all()
        await turns()
    await device.blobs.close()
    return device


async def count_jobs(root: Path) -> int:
    device, held = await held_device(root)
    task = asyncio.ensure_future(write_and_commit(device))
    await turns()
    jobs = 0
    while not task.done():
        held.run_one()
        await turns()
        jobs += 1
    return jobs


async def test_a_cancelled_commit_is_whole_or_nothing(tmp_path: Path) -> None:
    jobs = await count_jobs(tmp_path / "whole")
    assert jobs >= 3
    outcomes = set()
    for done in range(jobs):
        device = await cancelled_after(tmp_path / str(done), done)
        assert device.files("staging") == []
        there = device.header().name in device.index.entries
        assert device.files("blobs") == ([f"ab/{'ab' * 16}.0"] if there else [])
        outcomes.add(there)
        if there:
            assert device.path(device.header().name).read_bytes()[4096:].startswith(DATA)
    assert outcomes == {False, True}


async def start_write(
    device: Device, data: bytes | bytearray
) -> "tuple[BlobWriter, asyncio.Task[None]]":
    writer = await device.blobs.create(device.header())
    task = asyncio.ensure_future(writer.write(data))
    await turns()
    return writer, task


@pytest.mark.parametrize(
    "data", [bytearray(BATCH_BYTES), bytes(BATCH_BYTES + BUFFER_MAX_BYTES)], ids=["lent", "full"]
)
async def test_after_a_cancelled_write_nothing_can_be_committed(
    tmp_path: Path, data: bytes | bytearray
) -> None:
    device, held = await held_device(tmp_path)
    writer, task = await start_write(device, b"-" * BATCH_BYTES)
    await task
    task = asyncio.ensure_future(writer.write(data))
    await turns()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    commit = asyncio.ensure_future(writer.commit())
    await driven(held, commit)
    with pytest.raises(DeviceFault) as caught:
        commit.result()
    assert caught.value.fault is Fault.DEADLINE
    abort = asyncio.ensure_future(writer.abort())
    await driven(held, abort)
    assert device.files("") == []


async def test_write_waits_when_the_buffer_is_full(tmp_path: Path) -> None:
    device, held = await held_device(tmp_path)
    writer = await device.blobs.create(device.header())
    piece = bytes(BATCH_BYTES)
    await asyncio.wait_for(writer.write(piece), 1)  # in a job, which does not run yet
    for _ in range(BUFFER_MAX_BYTES // BATCH_BYTES - 1):
        await asyncio.wait_for(writer.write(piece), 1)
    assert len(held) == 1
    waiting = asyncio.ensure_future(writer.write(piece))
    await turns()
    assert not waiting.done()
    held.run_one()
    await asyncio.wait_for(waiting, 1)
    abort = asyncio.ensure_future(writer.abort())
    await driven(held, abort)
    assert device.files("") == []


async def test_a_cancelled_abort_still_removes_the_file(tmp_path: Path) -> None:
    device, held = await held_device(tmp_path)
    writer, task = await start_write(device, DATA)
    held.run_all()
    await task
    assert len(device.files("staging")) == 1
    abort = asyncio.ensure_future(writer.abort())
    await turns()
    abort.cancel()
    await turns()
    await driven(held, abort)
    assert device.files("") == []


async def test_a_job_that_comes_after_the_abort_makes_no_file(tmp_path: Path) -> None:
    device, held = await held_device(tmp_path)
    writer, task = await start_write(device, DATA)
    await task
    abort = asyncio.ensure_future(writer.abort())
    await turns()
    assert len(held) == 2
    held.run_one(1)  # as on two threads, of which the second is faster
    await driven(held, abort)
    assert device.files("") == []


async def test_a_cancelled_open_or_read_keeps_no_file_open(tmp_path: Path) -> None:
    device, held = await held_device(tmp_path)
    await driven(held, asyncio.ensure_future(write_and_commit(device)))
    device.disk.cold = True
    device.disk.calls.clear()
    opening = asyncio.ensure_future(device.blobs.open(device.header().name))
    await turns()
    opening.cancel()
    await turns()
    await driven(held, opening)
    assert device.disk.calls.count("open") == device.disk.calls.count("close") == 1
    opening = asyncio.ensure_future(device.blobs.open(device.header().name))
    await driven(held, opening)
    reader = opening.result()
    reading = asyncio.ensure_future(reader.read(0, 10))
    await turns()
    reading.cancel()
    await turns()
    reader.close()
    assert device.disk.calls.count("close") == 1  # a job still wants the file
    held.run_all()
    await turns()
    assert device.disk.calls.count("close") == 2


async def test_a_cancelled_delete_goes_on(tmp_path: Path) -> None:
    device, held = await held_device(tmp_path)
    await driven(held, asyncio.ensure_future(write_and_commit(device)))
    deleting = asyncio.ensure_future(device.blobs.delete(device.header().name))
    await turns()
    deleting.cancel()
    await turns()
    await driven(held, deleting)
    assert device.index.entries == {}
    assert device.files("") == []


async def test_abort_works_when_the_process_is_ending(tmp_path: Path) -> None:
    device = Device(tmp_path)
    await device.blobs.start()
    writer = await device.blobs.create(device.header())
    await writer.write(bytearray(BATCH_BYTES))
    device.executor.shutdown()
    await writer.abort()
    assert device.files("") == []
