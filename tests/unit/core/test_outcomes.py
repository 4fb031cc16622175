"""How row operations end is counted, the common way and the rare ones."""

import pytest

from proxy.core.errors import PreconditionFailed, Unavailable
from proxy.core.register import Value, Versioned
from proxy.core.rows import Rows
from storage.types import RowFlag
from tests.grid import Grid

VALUE = Value(int(RowFlag.NONE), 1, b"head", b"x")


def rows() -> tuple[Grid, Rows]:
    grid = Grid()
    return grid, grid.store().rows


async def test_what_two_of_three_agree_on() -> None:
    _, asked = rows()
    await asked.write(b"shard", b"name", VALUE)
    await asked.read(b"shard", b"name")
    await asked.read(b"shard", b"nothing")
    assert asked.outcomes.counts() == {"read agreed": 2, "write agreed": 1}
    assert asked.waiting == 0


async def test_conditional_writes_and_refused_conditions() -> None:
    _, asked = rows()
    await asked.update(b"shard", b"name", lambda _row: VALUE)

    def refuse(_row: Versioned) -> Value:
        raise PreconditionFailed("If-Match")

    with pytest.raises(PreconditionFailed):
        await asked.update(b"shard", b"name", refuse)
    found = asked.outcomes.counts()
    assert (found["update confirmed"], found["update refused"]) == (1, 1)


async def test_without_a_majority() -> None:
    grid, asked = rows()
    ids = grid.ring.devices("rows", grid.ring.partition(b"shard"))
    for number in ids[:2]:
        grid.devices[number].go_offline("gone")
    with pytest.raises(Unavailable):
        await asked.read(b"shard", b"name")
    with pytest.raises(Unavailable):
        await asked.write(b"shard", b"name", VALUE)
    found = asked.outcomes.counts()
    assert (found["read agreed"], found["write agreed"]) == (0, 0)
    lost = {key: count for key, count in found.items() if key.split()[1] in {"undone", "unknown"}}
    assert sum(lost.values()) == 2
    assert {key.split()[0] for key in lost} == {"read", "write"}
