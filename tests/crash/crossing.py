"""A blob's removal and the end of a hint, begun some turns of the loop after a checkpoint: at some
number of turns they are on their way to the disk just as compaction comes to their records."""

import asyncio
import random

from storage.types import ZERO_STAMP, RowFlag, Write
from tests.crash.device_rig import DeviceRig
from tests.crash.ledger import body_of
from tests.crash.recording_disk import RecordingDisk
from tests.crash.workload import BLOBS, SHARDS, Workload

TURNS = range(16)


def put(workload: Workload, shard: bytes, name: bytes, flags: int, size: int) -> None:
    """A plain write."""
    version = workload.rig.stamp() + ZERO_STAMP
    workload.send(Write(shard, name, version, flags, size, b"h"), body_of(version, size))


async def crossed(turns: int) -> RecordingDisk:
    """A recorded run."""
    disk = RecordingDisk()
    workload = Workload(await DeviceRig.open(disk), random.Random(turns))
    await workload.blob(BLOBS[0])
    put(workload, SHARDS[0], b"n0", RowFlag.BLOBS, 900)
    put(workload, SHARDS[0], b"n0", 0, 3)
    for _ in range(8):
        put(workload, SHARDS[1], b"n1", 0, 1500)
        await workload.barrier()
    workload.begin(workload.rig.device.checkpoint())
    for _ in range(turns):
        await asyncio.sleep(0)
    workload.begin(workload.blob(BLOBS[0]))
    await workload.forget(always=True)
    await workload.settle()
    workload.rig.crash()
    return disk
