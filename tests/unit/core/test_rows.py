"""Rows over devices that lag, fail and hold newer versions: what usual paths hand to the machines."""

import pytest

from proxy.core.errors import Damaged, Full, Unavailable
from proxy.core.placement import Placement
from proxy.core.register import Value
from proxy.core.rows import Rows
from runtime.clock import HybridClock
from runtime.randomness import SeededRandomness
from storage.types import Count, Read, Row, RowAnswer
from tests.grid import POLICIES, Grid

SHARD, NAME = b"o" + bytes(18), b"name"


class OffsetClock:
    """The system's clock, set wrong by some seconds."""

    def __init__(self, grid: Grid, offset_s: float) -> None:
        self._grid = grid
        self._offset_ns = int(offset_s * 1e9)

    def now_ns(self) -> int:
        return self._grid.clock.now_ns() + self._offset_ns

    def monotonic(self) -> float:
        return self._grid.clock.monotonic()


def rows(grid: Grid, offset_s: float = 0.0) -> Rows:
    clock = OffsetClock(grid, offset_s)
    randomness = SeededRandomness(int(offset_s) + 100)
    placement = Placement(grid.ring, dict(enumerate(grid.devices)), POLICIES)
    return Rows(placement, HybridClock(clock, randomness.token(8)), clock, randomness)


def value(text: bytes) -> Value:
    return Value(0, len(text), b"head", text)


async def test_a_proxy_whose_clock_is_behind_writes_over_what_one_ahead_wrote() -> None:
    grid = Grid()
    ahead, behind = rows(grid, 30.0), rows(grid, -30.0)
    await ahead.write(SHARD, NAME, value(b"first"))
    await behind.write(SHARD, NAME, value(b"second"))
    for reader in (ahead, behind, rows(grid)):
        assert (await reader.read(SHARD, NAME)).value.payload == b"second"


async def test_one_dead_replica_is_not_noticed() -> None:
    grid = Grid()
    proxy = rows(grid)
    for device in proxy.replicas(SHARD).devices:
        grid.devices[device.device_id].go_offline()
        await proxy.write(SHARD, NAME, value(b"%d" % device.device_id))
        assert (await proxy.read(SHARD, NAME)).value.payload == b"%d" % device.device_id
        grid.devices[device.device_id].go_online()
        assert (await proxy.read(SHARD, NAME)).value.payload == b"%d" % device.device_id


async def test_without_a_majority_there_is_no_answer() -> None:
    grid = Grid()
    proxy = rows(grid)
    await proxy.write(SHARD, NAME, value(b"old"))
    devices = [grid.devices[d.device_id] for d in proxy.replicas(SHARD).devices]
    for device in devices[:2]:
        device.go_offline()
    with pytest.raises(Unavailable):
        await proxy.write(SHARD, NAME, value(b"new"))
    with pytest.raises(Unavailable):
        await proxy.read(SHARD, NAME)
    with pytest.raises(Unavailable):
        await proxy.update(SHARD, NAME, lambda _row: value(b"newer"))


async def test_full_devices_say_so() -> None:
    grid = Grid()
    proxy = rows(grid)
    for device in grid.devices:
        device.set_full(True)
    with pytest.raises(Full):
        await proxy.write(SHARD, NAME, value(b"new"))


@pytest.mark.parametrize("damaged", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
async def test_one_good_copy_is_enough_and_damaged_ones_are_written_again(damaged: list[int]) -> None:
    grid = Grid()
    proxy = rows(grid)
    await proxy.write(SHARD, NAME, value(b"whole"))
    devices = [grid.devices[d.device_id] for d in proxy.replicas(SHARD).devices]
    for member in damaged:
        devices[member].corrupt_row(SHARD, NAME)
    for _ in range(3):
        assert (await proxy.read(SHARD, NAME)).value.payload == b"whole"
    answers: list[RowAnswer] = []
    devices[0].send(Read(SHARD, NAME), b"", 1e18, lambda answer, _payload: answers.append(answer))
    assert type(answers[0]) is Row


async def test_when_every_copy_is_damaged_nothing_is_served() -> None:
    grid = Grid()
    proxy = rows(grid)
    await proxy.write(SHARD, NAME, value(b"whole"))
    for device in proxy.replicas(SHARD).devices:
        grid.devices[device.device_id].corrupt_row(SHARD, NAME)
    with pytest.raises(Damaged):
        await proxy.read(SHARD, NAME)


async def test_counts_come_from_most_replicas() -> None:
    grid = Grid()
    proxy = rows(grid)
    for number in range(5):
        await proxy.write(SHARD, b"%d" % number, value(b"xy"))
    assert (await proxy.count(SHARD)).rows == 5
    lagging = grid.devices[proxy.replicas(SHARD).devices[0].device_id]
    lagging.go_offline()
    await proxy.write(SHARD, b"more", value(b"xy"))
    lagging.go_online()
    counts = await proxy.count(SHARD)
    assert (counts.rows, counts.size_bytes) == (6, 12)
    assert Count(SHARD).shard == SHARD
