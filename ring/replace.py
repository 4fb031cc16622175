"""A device in the place of a lost one: exactly its partitions, and nothing else moves.

For an exchanged or wiped disk. The newcomer has an id and an incarnation of its own, for the old one's
rows are gone with it: taking its id, it would vote with what it has forgotten. Pure; `atoll node
replace` makes the epoch.
"""

import dataclasses

import numpy as np

from ring.epochs import is_joint
from ring.errors import InvalidChange
from ring.format_v1 import id_width_bytes
from ring.lookup import Ring
from ring.types import DEVICE_ID_MAX, ROWS, DeviceState, IdTable, Step


def replaced(ring: Ring, device_id: int, incarnation: str, at_s: int) -> Ring:
    """The next epoch, in which a new device has the place of `device_id`, which leaves the ring.

    incarnation: 32 hex digits, newly drawn. at_s: seconds since the Unix epoch. The epoch is joint
    where rows move: the old device counts among the old ones and answers nothing. Raises UnknownDevice,
    InvalidDevice; InvalidChange where rows are still moving, the device is leaving anyway, or its
    placement has no other replica to take anything from.
    """
    old = ring.device(device_id)
    if is_joint(ring, ROWS):
        raise InvalidChange(f"the rows of epoch {ring.epoch} are still moving")
    if old.state is not DeviceState.ACTIVE:
        raise InvalidChange(f"device {device_id} is leaving the ring")
    if ring.next_device_id > DEVICE_ID_MAX:
        raise InvalidChange("no device ids are left")
    for placement in ring.placements:
        if placement.replicas == 1 and ring.held(placement.name)[device_id]:
            raise InvalidChange(
                f"placement {placement.name} has one replica: nothing else holds what {device_id} did"
            )
    new = dataclasses.replace(old, id=ring.next_device_id, incarnation=incarnation)
    members = tuple(member for member in ring.members if member.id != device_id)
    tables: dict[str, IdTable] = {}
    steps = dict(ring.steps)
    for name, table in ring.tables.items():
        changed = table.astype(f"u{id_width_bytes(new.id + 1)}")
        replicas, partitions = np.nonzero(table == device_id)
        changed[replicas, partitions] = new.id
        tables[name] = changed
        if len(partitions):
            steps[name] = (*steps[name], _step(ring.epoch + 1, at_s, partitions, replicas, device_id))
    return Ring(
        epoch=ring.epoch + 1,
        cluster_id=ring.cluster_id,
        salt=ring.salt,
        part_power=ring.part_power,
        min_part_hours=ring.min_part_hours,
        overload=ring.overload,
        next_device_id=new.id + 1,
        devices=(*members, new),
        placements=ring.placements,
        tables=tables,
        steps=steps,
    )


def _step(
    epoch: int,
    at_s: int,
    partitions: "np.ndarray[tuple[int], np.dtype[np.intp]]",
    replicas: "np.ndarray[tuple[int], np.dtype[np.intp]]",
    source: int,
) -> Step:
    return Step(
        epoch=epoch,
        at_s=at_s,
        partitions=partitions.astype(np.uint32),
        replicas=replicas.astype(np.uint8),
        sources=np.full(len(partitions), source, dtype=np.uint32),
    )
