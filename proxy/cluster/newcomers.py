"""The newcomers of an epoch: who they are, and that they begin empty.

A device that held a partition once may still hold rows of it. Others have reclaimed tombstones since,
so what it remembers could come to life again: it is emptied before its process enters the epoch that
makes it a newcomer, while no request can reach it there.
"""

from collections.abc import Iterable
from typing import Final

from proxy.core.poll import Poll
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from storage.contract import RowDevice
from storage.types import Drop, Failed, Fault, ListShards, Ok, RowAnswer, RowMessage, ShardList

CALL_TIME_S: Final = 60.0


class NotEmptied(Exception):
    """A newcomer still holds rows, or can't say. offline: it answers nothing at all."""

    def __init__(self, device_id: int, answer: RowAnswer | None) -> None:
        said = answer.text if type(answer) is Failed else "no answer"
        super().__init__(f"device {device_id} could not be emptied: {said}")
        self.offline = type(answer) is Failed and answer.fault == Fault.OFFLINE


def newcomers(ring: Ring, device_ids: Iterable[int]) -> list[tuple[int, int]]:
    """(device, partition) of the row replicas that this very epoch brings to these devices."""
    step = ring.moved_in_epoch(ROWS)
    if step is None:
        return []
    holders = ring.tables[ROWS][step.replicas, step.partitions].tolist()
    wanted = set(device_ids)
    moves = zip(holders, step.partitions.tolist(), strict=True)
    return [(device, partition) for device, partition in moves if device in wanted]


async def empty(device: RowDevice, ring: Ring, partitions: Iterable[int], clock: Clock) -> None:
    """Drop what the device holds of these partitions. Raises NotEmptied."""
    for partition in partitions:
        more = True
        while more:
            listed = await _ask(device, ListShards(ring.salt, ring.part_power, partition), clock)
            if type(listed) is not ShardList:
                raise NotEmptied(device.device_id, listed)
            for shard in listed.shards:
                dropped = await _ask(device, Drop(shard.key), clock)
                if type(dropped) is not Ok:
                    raise NotEmptied(device.device_id, dropped)
            more = listed.more


async def _ask(device: RowDevice, message: RowMessage, clock: Clock) -> RowAnswer | None:
    poll = Poll(clock, CALL_TIME_S)
    poll.ask(0, device, message)
    await poll.all()
    return poll.answers.get(0)
