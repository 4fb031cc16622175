"""A keeper's file: what it survives, what it refuses, what it never forgets."""

import asyncio
import errno
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.clock import SystemClock
from runtime.disk import Disk
from storage.device.lane import InlineLane, Lane
from storage.keeper import ROWS_MAX, KeeperDevice, KeeperInUse
from storage.types import (
    ZERO_VERSION,
    Count,
    Failed,
    Fault,
    No,
    Ok,
    Read,
    Row,
    RowAnswer,
    RowMessage,
    Scan,
)
from tests.contract.device.words import NAME, SHARD, accept, plain, prepare, stamp, update, write
from tests.crash.crash_images import Event, Image
from tests.crash.recording_disk import RecordingDisk

PATH = "data/keeper"
CLOCK = SystemClock()
S = 1_000_000


class HeldLane(InlineLane):
    """Runs its jobs when a test says so."""

    def __init__(self) -> None:
        super().__init__("keeper")
        self.jobs: list[tuple[object, object]] = []
        self.holding = False

    def submit(self, work, done) -> None:  # type: ignore[no-untyped-def]
        if self.holding:
            self.jobs.append((work, done))
        else:
            super().submit(work, done)

    def release(self) -> None:
        self.holding = False
        jobs, self.jobs = self.jobs, []
        for work, done in jobs:
            self.submit(work, done)


def fresh_disk() -> RecordingDisk:
    disk = RecordingDisk(Image({}, frozenset({"data"}), {}))
    KeeperDevice.create(PATH, disk)
    return disk


@asynccontextmanager
async def opened(disk: Disk, lane: Lane | None = None) -> AsyncIterator[KeeperDevice]:
    keeper = KeeperDevice.open(PATH, disk, CLOCK, lane or InlineLane("keeper"))
    try:
        yield keeper
    finally:
        await keeper.close()


def begin(
    keeper: KeeperDevice, message: RowMessage, payload: bytes = b""
) -> "asyncio.Future[RowAnswer]":
    future: asyncio.Future[RowAnswer] = asyncio.get_running_loop().create_future()
    keeper.send(message, payload, CLOCK.monotonic() + 10, lambda answer, _: future.set_result(answer))
    return future


async def ask(keeper: KeeperDevice, message: RowMessage, payload: bytes = b"") -> RowAnswer:
    return await begin(keeper, message, payload)


async def version_of(keeper: KeeperDevice) -> bytes:
    row = await ask(keeper, Read(SHARD, NAME))
    assert isinstance(row, Row)
    return row.version


async def test_everything_is_there_after_a_restart() -> None:
    disk = fresh_disk()
    async with opened(disk) as keeper:
        for number in range(1, 6):
            assert await ask(keeper, write(number * S), b"value %d" % number) == Ok()
        assert isinstance(await ask(keeper, prepare(9 * S, b"other")), Row)
        assert await ask(keeper, accept(update(5 * S, 6 * S)), b"updated") == Ok()
    async with opened(disk) as keeper:
        assert await version_of(keeper) == update(5 * S, 6 * S)
        assert await ask(keeper, write(5 * S)) == Ok()  # held
        assert await ask(keeper, write(1)) == No(stamp(6 * S), never_held=False)
        assert await ask(keeper, prepare(8 * S, b"other")) == No(stamp(9 * S), never_held=False)


async def test_a_power_cut_takes_nothing_that_was_acknowledged() -> None:
    disk = fresh_disk()
    begun = len(disk.events)
    async with opened(disk) as keeper:
        for number in range(1, 5):
            if isinstance(await ask(keeper, write(number * S), b"v"), Ok):
                disk.record(Event("ack", number))
    rng = random.Random(7)
    for upto in range(begun, len(disk.events) + 1):
        crashes = disk.crashes(upto)
        least = max((*crashes.acknowledged(), 0))
        for image in crashes.images(rng):
            async with opened(RecordingDisk(image)) as keeper:
                assert not keeper.offline
                found = await version_of(keeper)
                assert found >= (plain(least * S) if least else ZERO_VERSION)


async def test_a_read_answers_what_is_durable() -> None:
    lane = HeldLane()
    async with opened(fresh_disk(), lane) as keeper:
        lane.holding = True
        writing = begin(keeper, write(S), b"new")
        assert await version_of(keeper) == ZERO_VERSION
        assert not writing.done()
        lane.release()
        assert await writing == Ok()
        assert await version_of(keeper) == plain(S)


async def test_messages_that_arrive_meanwhile_share_a_write() -> None:
    lane, disk = HeldLane(), fresh_disk()
    async with opened(disk, lane) as keeper:
        lane.holding = True
        first = begin(keeper, write(S))
        others = [begin(keeper, write(n * S)) for n in (2, 3, 4)]
        held = begin(keeper, write(S))  # true at once, and durable only with the others
        writes_before = sum(event.kind == "sync" for event in disk.events)
        lane.release()
        assert await asyncio.gather(first, *others, held) == [Ok()] * 5
        assert sum(event.kind == "sync" for event in disk.events) == writes_before + 2


async def test_a_failed_sync_is_final() -> None:
    disk = fresh_disk()
    async with opened(disk) as keeper:
        assert await ask(keeper, write(S)) == Ok()
        disk.sync_fails = True
        answer = await ask(keeper, write(2 * S))
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.OFFLINE
        disk.sync_fails = False
        for message in (Read(SHARD, NAME), write(3 * S)):
            later = await ask(keeper, message)
            assert isinstance(later, Failed)
            assert later.fault == Fault.OFFLINE
            assert "could not be written" in later.text


async def test_without_room_nothing_changes_and_all_goes_on_when_there_is() -> None:
    disk, lane = fresh_disk(), HeldLane()
    async with opened(disk, lane) as keeper:
        assert await ask(keeper, write(S)) == Ok()
        disk.full = True
        lane.holding = True
        refused = begin(keeper, write(2 * S))
        also = begin(keeper, prepare(3 * S))
        repeated = begin(keeper, write(S))
        lane.release()
        for answer in (await refused, await also):
            assert answer == Failed(Fault.FULL, "no room for the keeper's file")
        assert await repeated == Ok()
        assert await version_of(keeper) == plain(S)
        disk.full = False
        assert isinstance(await ask(keeper, prepare(3 * S)), Row)  # the first promise was not made
        assert await ask(keeper, write(2 * S)) == Ok()


async def test_a_write_that_is_cut_off_by_a_full_disk_leaves_the_old_file() -> None:
    disk = fresh_disk()
    async with opened(disk) as keeper:
        assert await ask(keeper, write(S)) == Ok()
        disk.full, disk.room = True, 20
        answer = await ask(keeper, write(2 * S))
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.FULL
    async with opened(RecordingDisk(disk.image())) as keeper:
        assert await version_of(keeper) == plain(S)


async def test_a_file_that_is_not_there_is_never_an_empty_one() -> None:
    async with opened(RecordingDisk(Image({}, frozenset({"data"}), {}))) as keeper:
        answer = await ask(keeper, Read(SHARD, NAME))
        assert isinstance(answer, Failed)
        assert "no keeper's file" in answer.text
        assert isinstance(await ask(keeper, write(S)), Failed)


async def test_every_flipped_bit_is_found() -> None:
    disk = fresh_disk()
    async with opened(disk) as keeper:
        await ask(keeper, write(S), b"value")
    size = len(disk.image().files[PATH])
    for offset in range(size):
        damaged = RecordingDisk(disk.image())
        damaged.flip(PATH, offset, 1 << offset % 8)
        async with opened(damaged) as keeper:
            assert keeper.offline, offset
            assert isinstance(await ask(keeper, Read(SHARD, NAME)), Failed)


@pytest.mark.parametrize("cut", [0, 1, 24, 60])
async def test_a_file_that_is_cut_short_is_refused(cut: int) -> None:
    disk = fresh_disk()
    async with opened(disk) as keeper:
        await ask(keeper, write(S), b"value")
    disk.open(PATH, writable=True).truncate(cut)
    async with opened(disk) as keeper:
        assert keeper.offline


async def test_it_has_few_rows() -> None:
    async with opened(fresh_disk()) as keeper:
        for number in range(ROWS_MAX):
            assert await ask(keeper, write(S, b"%d" % number)) == Ok()
        answer = await ask(keeper, write(S, b"one more"))
        assert isinstance(answer, Failed)
        assert answer.fault == Fault.TOO_LARGE
        assert await ask(keeper, write(2 * S, b"0")) == Ok()


@pytest.mark.parametrize("message", [Scan(SHARD, b"", b"", 10), Count(SHARD)], ids=["scan", "count"])
async def test_it_neither_lists_nor_counts(message: RowMessage) -> None:
    async with opened(fresh_disk()) as keeper:
        answer = await ask(keeper, message)
        assert isinstance(answer, Failed)
        assert "single rows only" in answer.text


async def test_a_second_process_is_kept_away() -> None:
    disk = fresh_disk()
    async with opened(disk):
        with pytest.raises(KeeperInUse):
            KeeperDevice.open(PATH, disk, CLOCK, InlineLane("second"))
    async with opened(disk) as keeper:
        assert not keeper.offline


def test_a_keeper_is_made_once() -> None:
    disk = fresh_disk()
    with pytest.raises(FileExistsError):
        KeeperDevice.create(PATH, disk)


async def test_closing_answers_everyone() -> None:
    lane = HeldLane()
    keeper = KeeperDevice.open(PATH, fresh_disk(), CLOCK, lane)
    lane.holding = True
    writing, waiting = begin(keeper, write(S)), begin(keeper, write(2 * S))
    lane.release()
    await keeper.close()
    assert await writing == Ok()
    answer = await waiting
    assert isinstance(answer, Failed)
    assert answer.fault == Fault.OFFLINE


async def test_an_unreadable_disk_leaves_it_offline() -> None:
    class Unreadable(RecordingDisk):
        def open(self, path: str, *, writable: bool = False):  # type: ignore[no-untyped-def]
            raise OSError(errno.EIO, "input/output error")

    async with opened(Unreadable(fresh_disk().image())) as keeper:
        assert "input/output error" in keeper.offline
