"""How a keeper that holds nothing begins: as a new one, or with what it has lost.

Its directory can't tell. A keeper that has forgotten its votes must not vote: the other one of an old
majority may be away, and a ring of before would be the newest. So it serves nobody until all other
keepers have said that they were new as well: had it ever voted, one of them would hold something. (Nor
does it before they all know that of each other: the first rows would make the last one wait.) Where
one does, it takes over the rows from so many others that each majority of before has one of them; what
it had promised dies with the updates' deadline, which it sits out.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

from proxy.cluster.nodes import NODES_NAME, NODES_SHARD
from proxy.cluster.register import RING_NAME, RING_SHARD
from proxy.core.operations import ROW_DEADLINE_S
from proxy.core.poll import Poll
from runtime.clock import Clock
from storage.contract import DeviceFault, RowDevice
from storage.keeper import KeeperDevice
from storage.keeper_file import Kept
from storage.replica import RowState
from storage.types import STAMP_BYTES, ZERO_VERSION, Read, Row

ROWS: Final = ((RING_SHARD, RING_NAME), (NODES_SHARD, NODES_NAME))
"""All rows that keepers have."""

AGAIN_S: Final = 0.1
SILENCE_S: Final = ROW_DEADLINE_S + 5.0
"""Longer than any update lasts that it may have promised something to."""

READ_TIME_S: Final = 5.0


class OtherKeeper(RowDevice, Protocol):
    """Another keeper."""

    async def status(self) -> dict[str, Any]:
        """`KeeperDevice.status` of it. Raises DeviceFault."""


async def begin_keeper(
    keeper: KeeperDevice, others: Sequence[OtherKeeper], clock: Clock, silence_s: float = SILENCE_S
) -> None:
    """Let a keeper that was held back serve, as soon as it is known with what. others: all of them."""
    begun = clock.monotonic()
    new: set[int] = set()
    while True:
        states = await asyncio.gather(*map(_try_ask, others))
        new |= {n for n, state in enumerate(states) if state is not None and state["new"]}
        held = {n for n, state in enumerate(states) if state is not None and state["rows"]}
        if held - new:
            await _begin_again(keeper, others, clock, begun + silence_s)
            return
        keeper.knows_others = len(new) == len(others)
        if keeper.knows_others and all(state and state["knows_others"] for state in states):
            await keeper.begin({})
            return
        await asyncio.sleep(AGAIN_S)


async def _begin_again(
    keeper: KeeperDevice, others: Sequence[OtherKeeper], clock: Clock, not_before: float
) -> None:
    """With the rows of the others, when nothing is under way any more that it may have promised."""
    while True:
        await asyncio.sleep(max(AGAIN_S, not_before - clock.monotonic()))
        rows = await _rows_of(others, clock)
        if rows is not None:
            await keeper.begin(rows)
            return


def needed(others: int) -> int:
    """How many of the others must tell, so that every majority among all has one of them."""
    keepers = others + 1
    return keepers - (keepers // 2 + 1) + 1


async def _try_ask(other: OtherKeeper) -> dict[str, Any] | None:
    """What it says; None where it says nothing, or what no keeper says: it is asked again."""
    with contextlib.suppress(DeviceFault, ValueError):
        state = await other.status()
        return state if state.keys() >= {"new", "rows", "knows_others"} else None
    return None


async def _rows_of(
    others: Sequence[OtherKeeper], clock: Clock
) -> dict[tuple[bytes, bytes], Kept] | None:
    """The newest rows of the others; None where too few of them answer."""
    found: dict[tuple[bytes, bytes], Kept] = {}
    for shard, name in ROWS:
        poll = Poll(clock, READ_TIME_S)
        for number, other in enumerate(others):
            poll.ask(number, other, Read(shard, name))
        await poll.all()
        told = [(a, poll.payloads.get(n, b"")) for n, a in poll.answers.items() if type(a) is Row]
        if len(told) < needed(len(others)):
            return None
        row, payload = max(told, key=lambda one: one[0].version)
        if row.version != ZERO_VERSION:
            state = RowState(row.version, row.version[STAMP_BYTES:])
            found[shard, name] = Kept(state, row.flags, row.size, row.head, bytes(payload))
    return found
