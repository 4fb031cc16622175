"""reclaim: tombstones go where all replicas have had them for long, and nowhere else."""

import pytest

from proxy.repair.reclaim import RECLAIM_AGE_S, Reclaim
from storage.types import (
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_STAMP,
    Accept,
    Ok,
    Prepare,
    Read,
    Row,
    RowFlag,
    Write,
)
from tests.grid import throttle
from tests.unit.repair.rows_grid import RowsGrid, SetClock, run

SHARD = b"o" + bytes(16)
NAME = b"photos/cat.jpg"
GONE = RowFlag.TOMBSTONE


class Reclaimed(RowsGrid):
    """Rows, a clock that a test sets, and the worker of all devices."""

    def __init__(self) -> None:
        self.time = SetClock()
        super().__init__(3, self.time)
        self.reclaim = Reclaim(
            lambda: self.ring, self.placement, range(3), self.time, throttle(self.time).pace()
        )

    def put(self, name: bytes, version: bytes, *numbers: int, flags: int = GONE) -> None:
        """Store a version on some replicas; a tombstone unless said otherwise."""
        kind = Write if version[STAMP_BYTES:] == ZERO_STAMP else Accept
        for number in numbers:
            self.tell(self.replicas(SHARD)[number], kind(SHARD, name, version, flags, 0, b""))

    def left(self) -> list[list[bytes]]:
        """Names that each replica knows."""
        return [list(self.versions(device, SHARD)) for device in self.replicas(SHARD)]

    async def later(self, seconds: float = RECLAIM_AGE_S + 1) -> list[list[bytes]]:
        """What is left after that time and a round."""
        self.time.seconds += seconds
        await run(self.reclaim)
        return self.left()


async def test_a_tombstone_that_all_have_goes_when_it_is_old() -> None:
    grid = Reclaimed()
    live, gone = grid.plain(), grid.plain()
    grid.put(b"live", live, 0, 1, 2, flags=0)
    grid.put(NAME, gone, 0, 1, 2)
    assert await grid.later(RECLAIM_AGE_S - 1) == [[b"live", NAME]] * 3
    assert await grid.later(2) == [[b"live"]] * 3
    assert grid.reclaim.status().counts == {"tombstones_forgotten": 1}
    assert await grid.later() == [[b"live"]] * 3


async def test_many_pages_of_tombstones_go() -> None:
    grid = Reclaimed()
    for number in range(2500):
        flags = GONE if number % 2 else 0
        grid.put(b"%05d" % number, grid.plain(), 0, 1, 2, flags=flags)
    assert await grid.later() == [[b"%05d" % number for number in range(0, 2500, 2)]] * 3


async def test_a_replica_that_is_away_keeps_it_everywhere() -> None:
    grid = Reclaimed()
    grid.put(NAME, grid.plain(), 0, 1, 2)
    away = grid.replicas(SHARD)[2]
    away.go_offline()
    grid.time.seconds += RECLAIM_AGE_S + 1
    await run(grid.reclaim)
    away.go_online()
    assert grid.left() == [[NAME]] * 3
    assert await grid.later(0) == [[]] * 3


@pytest.mark.parametrize("lagging", range(3))
async def test_a_replica_that_missed_the_delete_keeps_it_everywhere(lagging: int) -> None:
    """Or what it still holds would be the newest there is."""
    grid = Reclaimed()
    grid.put(NAME, grid.plain(), 0, 1, 2, flags=0)
    grid.put(NAME, grid.plain(), *{0, 1, 2} - {lagging})
    assert await grid.later() == [[NAME]] * 3
    await run(grid.sync())
    assert await grid.later(0) == [[]] * 3
    row = await grid.rows.read(SHARD, NAME)
    assert not row.live


async def test_a_replica_that_never_heard_of_the_row_keeps_it_everywhere() -> None:
    grid = Reclaimed()
    grid.put(NAME, grid.plain(), 0, 1)
    assert await grid.later() == [[NAME], [NAME], []]


async def test_a_young_promise_or_decision_keeps_it() -> None:
    """The stamp of a conditional delete may be old: it is that of the row below."""
    grid = Reclaimed()
    base = grid.plain()
    grid.put(b"decided", base, 0, 1, 2, flags=0)
    grid.put(b"promised", base, 0, 1, 2)
    grid.time.seconds += RECLAIM_AGE_S + 1
    grid.put(b"decided", base[:STAMP_BYTES] + grid.stamps.stamp(), 0, 1, 2)
    grid.tell(grid.replicas(SHARD)[1], Prepare(SHARD, b"promised", grid.stamps.stamp()))
    await run(grid.reclaim)
    assert grid.left() == [[b"decided"], [b"decided", b"promised"], [b"decided"]]
    await run(grid.sync())
    assert grid.left() == [[b"decided", b"promised"]] * 3
    assert await grid.later() == [[]] * 3


async def test_sealed_shards_keep_theirs() -> None:
    grid = Reclaimed()
    grid.put(NAME, grid.plain(), 0, 1, 2)
    grid.seal(SHARD, *grid.replicas(SHARD))
    assert await grid.later() == [[SEAL_NAME, NAME]] * 3
    grid.put(SEAL_NAME, grid.plain(), 0, 1, 2)
    assert await grid.later() == [[SEAL_NAME]] * 3


async def test_a_late_repetition_of_the_delete_or_of_what_it_deleted_is_dropped() -> None:
    """By its deadline: a message of that time is days beyond it."""
    grid = Reclaimed()
    write = Write(SHARD, NAME, grid.plain(), 0, 0, b"")
    deadline = grid.time.monotonic() + 655
    grid.put(NAME, write.version, 0, 1, 2, flags=0)
    grid.put(NAME, grid.plain(), 0, 1, 2)
    assert await grid.later() == [[]] * 3
    answers: list[object] = []
    for device in grid.replicas(SHARD):
        device.send(write, b"", deadline, lambda answer, _: answers.append(answer))
    assert Ok() not in answers
    assert grid.left() == [[]] * 3


async def test_a_forgotten_tombstone_that_one_kept_comes_back_as_one() -> None:
    grid = Reclaimed()
    version = grid.plain()
    grid.put(NAME, version, 2)
    await run(grid.sync())
    row = grid.tell(grid.replicas(SHARD)[0], Read(SHARD, NAME))
    assert row == Row(version, GONE, 0, b"")
    assert await grid.later() == [[]] * 3


async def test_only_the_process_of_the_first_replica_reclaims() -> None:
    grid = Reclaimed()
    grid.put(NAME, grid.plain(), 0, 1, 2)
    leader = grid.replicas(SHARD)[0].device_id
    grid.reclaim.owned = {0, 1, 2} - {leader}
    assert await grid.later() == [[NAME]] * 3
    grid.reclaim.owned = {leader}
    assert await grid.later(0) == [[]] * 3


async def test_hints_of_what_a_tombstone_replaced_stay() -> None:
    grid = Reclaimed()
    for device in grid.replicas(SHARD):
        grid.tell(device, Write(SHARD, NAME, grid.plain(), RowFlag.BLOBS, 3, b""), b"manifest")
    grid.put(NAME, grid.plain(), 0, 1, 2)
    assert await grid.later() == [[]] * 3
    for device in grid.replicas(SHARD):
        (hint,) = await device.list_garbage(0, 10)
        assert hint.manifest == b"manifest"
