"""Where the copies or fragments of a blob may be beside their homes: pure functions of the ring.

A blob's homes are the devices of its policy's partition, by number. A home that does not take its copy
is stood in for by a handoff device, under the same number, until repair moves it home; and while a ring
change is being carried out, what has moved is still at its former home. Everyone who knows the ring
finds the same few devices, so no list of exceptions is kept anywhere.

Handoffs are ranked by a hash of blob and device alone (rendezvous hashing; Thaler and Ravishankar,
1998): one device more or less in the ring shifts the ranks of others by one at most. That is why more
ranks are searched than are written to.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from ring.types import NO_DEVICE, Device, DeviceState, Step

HANDOFFS_MAX: Final = 6
"""How many devices beside its homes may be asked to take a blob's copies or fragments."""

HANDOFFS_SEARCHED: Final = 8
"""How many of them are asked for a copy that is not at home."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def _scores(blob_id: bytes, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A hash of (blob, device) for each device: SplitMix64 over the ids, from the blob's XXH3."""
    mixed = ids * _GOLDEN + np.uint64(xxh3_64_intdigest(blob_id))
    for shift, factor in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    return mixed ^ (mixed >> np.uint64(31))


class Handoffs:
    """The handoff devices of one ring epoch. Lost devices are none."""

    def __init__(self, members: Sequence[Device]) -> None:
        self._members = {m.id: m for m in members if m.state is not DeviceState.LOST}
        self._ids: dict[str, npt.NDArray[np.uint64]] = {}

    def _of_class(self, device_class: str) -> npt.NDArray[np.uint64]:
        """Ids of the devices of a class, "" for all."""
        ids = self._ids.get(device_class)
        if ids is None:
            fit = [m.id for m in self._members.values() if device_class in ("", m.device_class)]
            ids = self._ids[device_class] = np.array(fit, dtype=np.uint64)
        return ids

    def searched(self, blob_id: bytes, homes: Iterable[int], device_class: str = "") -> list[int]:
        """The devices to ask for what is not at home, in order of their rank."""
        ids = self._of_class(device_class)
        if not len(ids):
            return []
        scores = _scores(blob_id, ids)
        own = set(homes)
        count = min(len(ids), HANDOFFS_SEARCHED + len(own))
        best = np.argpartition(scores, count - 1)[:count]
        ranked: list[int] = ids[best[np.argsort(scores[best])]].tolist()
        return [device_id for device_id in ranked if device_id not in own][:HANDOFFS_SEARCHED]

    def offered(self, blob_id: bytes, homes: Sequence[int], device_class: str = "") -> list[int]:
        """The devices to give copies to, best first: in zones, then nodes, with the fewest homes.

        Devices that are to leave the ring come last.
        """
        members = self._members
        held = [members[home] for home in homes if home in members]
        zones = Counter((m.region, m.zone) for m in held)
        nodes = Counter((m.region, m.zone, m.node) for m in held)

        def crowding(device_id: int) -> tuple[bool, int, int]:
            m = members[device_id]
            zone, node = (m.region, m.zone), (m.region, m.zone, m.node)
            return m.share_weight == 0, zones[zone], nodes[node]

        ranked = self.searched(blob_id, homes, device_class)[:HANDOFFS_MAX]
        return sorted(ranked, key=crowding)  # stable: equals stay in order of their rank


def former_homes(steps: Sequence[Step], partition: int) -> list[int]:
    """Devices that held a replica or fragment of a partition before recent moves, the latest first."""
    found: dict[int, None] = {}
    for step in reversed(steps):
        sources = step.sources[step.partitions == partition]
        found.update(dict.fromkeys(int(source) for source in sources if source != NO_DEVICE))
    return list(found)
