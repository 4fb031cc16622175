"""The newcomers of an epoch: who they are, and that they begin empty.

A device that held a partition once may still hold rows of it. Others have reclaimed tombstones since,
so what it remembers could come to life again: it is emptied before its process enters the epoch that
makes it a newcomer, while no request can reach it there.
"""

from collections.abc import Iterable
from typing import Final

from proxy.core.asking import shards_of, told
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from runtime.errors import AtollError
from storage.contract import DeviceFault, RowDevice
from storage.types import Drop, Fault, Ok

CALL_TIME_S: Final = 60.0


class NotEmptied(AtollError):
    """A newcomer still holds rows, or can't say. offline: it answers nothing at all."""

    def __init__(self, device_id: int, fault: DeviceFault) -> None:
        super().__init__(f"device {device_id} could not be emptied: {fault}")
        self.offline = fault.fault is Fault.OFFLINE


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
    try:
        for partition in partitions:
            for shard in await shards_of(clock, CALL_TIME_S, device, ring, partition):
                await told(clock, CALL_TIME_S, device, Drop(shard.key), Ok)
    except DeviceFault as fault:
        raise NotEmptied(device.device_id, fault) from fault
