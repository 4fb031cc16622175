"""Ring changes for worlds: blobs' seats move to other devices, rows stay where they are."""

import random

import numpy as np

from ring.lookup import Ring
from ring.types import ROWS, IdTable, Step


def moved(ring: Ring, chance: random.Random, share: float) -> Ring:
    """The next epoch: in about `share` of each policy's partitions one seat is another device's."""
    tables: dict[str, IdTable] = dict(ring.tables)
    steps = dict(ring.steps)
    ids = [member.id for member in ring.members]
    for placement in ring.placements:
        table = ring.tables[placement.name].copy()
        moves: list[tuple[int, int, int]] = []
        for partition in range(ring.partition_count):
            free = sorted(set(ids) - set(table[:, partition].tolist()))
            if placement.name != ROWS and free and chance.random() < share:
                number = chance.randrange(placement.replicas)
                moves.append((partition, number, int(table[number, partition])))
                table[number, partition] = chance.choice(free)
        if moves:
            partitions, numbers, sources = np.array(moves).T
            step = Step(
                ring.epoch + 1,
                0,
                partitions.astype(np.uint32),
                numbers.astype(np.uint8),
                sources.astype(np.uint32),
            )
            tables[placement.name] = table
            steps[placement.name] = (*ring.steps[placement.name], step)
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=ring.next_device_id,
        devices=ring.members,
        placements=ring.placements,
        tables=tables,
        steps=steps,
    )


def restored(ring: Ring, former: Ring) -> Ring:
    """The next epoch: all seats are where they were in a former one."""
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=ring.next_device_id,
        devices=ring.members,
        placements=ring.placements,
        tables=dict(former.tables),
        steps=dict(ring.steps),
    )
