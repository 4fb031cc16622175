"""The nouns of the ring: devices, placements, steps, and the limits on them.

Frozen data, checked when made. Who holds what is in `ring.lookup`; how it is decided in
`ring.builder`.
"""

import enum
import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ring.errors import InvalidDevice, InvalidPlacement

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IdTable = npt.NDArray[np.unsignedinteger]
"""Device ids, replicas x 2^part_power, uint16 or uint32."""

PART_POWER_MAX = 24
"""16.8 million partitions: 160 on each of a hundred thousand devices."""
REPLICAS_MAX = 32
"""The widest erasure code, k + m."""
PLACEMENTS_MAX = 32
DEVICES_MAX = 1 << 20
DEVICE_ID_MAX = (1 << 32) - 2
NO_DEVICE = (1 << 32) - 1
"""Source of a replica that had no device before: a placement that grew."""
WEIGHT_MIN = 1e-6
"""Smallest weight above zero: quotas are computed in doubles and must stay apart."""
WEIGHT_MAX = 1e9
TEXT_MAX_BYTES = 255
"""Of a region, zone, node, address or class."""
PATH_MAX_BYTES = 4096
MIN_PART_HOURS_MAX = 24 * 365

ROWS = "rows"
"""The placement that every ring has: the metadata rows."""
ROWS_REPLICAS = 3

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_INCARNATION = re.compile(r"[0-9a-f]{32}")


class DeviceState(enum.IntEnum):
    """What the operator wants of a device. The numbers are stored."""

    ACTIVE = 0
    LEAVING = 1
    """Weight counts as zero; leaves the ring once it holds nothing and no recent move began there."""
    LOST = 2
    """Gone for good: its replicas are placed anew at once, whatever `min_part_hours` says."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one node.

    id: never used again for another device. incarnation: 32 hex digits, drawn when the device was
    formatted, so that a wiped one is recognised. weight: relative, by custom its TB; 0 drains it.
    address: of its node, in the node protocol's own form. Raises InvalidDevice.
    """

    id: int
    incarnation: str
    region: str
    zone: str
    node: str
    address: str
    path: str
    weight: float
    device_class: str = ""
    state: DeviceState = DeviceState.ACTIVE

    def __post_init__(self) -> None:
        if not 0 <= self.id <= DEVICE_ID_MAX:
            raise InvalidDevice(f"device id {self.id} is not within 0 … {DEVICE_ID_MAX}")
        if not _INCARNATION.fullmatch(self.incarnation):
            raise InvalidDevice(f"device {self.id}: an incarnation id is 32 hex digits")
        check_weight(self.weight)
        for field in ("region", "zone", "node"):
            if not getattr(self, field):
                raise InvalidDevice(f"device {self.id} has no {field}")
        for field in ("region", "zone", "node", "address", "device_class"):
            _check_text(self.id, field, getattr(self, field), TEXT_MAX_BYTES)
        _check_text(self.id, "path", self.path, PATH_MAX_BYTES)

    @property
    def share_weight(self) -> float:
        """The weight that counts: zero for a device that is to leave."""
        return self.weight if self.state is DeviceState.ACTIVE else 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """One assignment of partitions: `rows`, or one per storage policy.

    replicas: copies, or k + m fragments. device_class: only devices of this class; "" for all.
    Raises InvalidPlacement.
    """

    name: str
    replicas: int
    device_class: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidPlacement(
                f"{self.name!r} is no placement name: lower-case letters, digits, '.' and '-'"
            )
        if not 1 <= self.replicas <= REPLICAS_MAX:
            raise InvalidPlacement(
                f"placement {self.name}: {self.replicas} replicas, allowed are 1 … {REPLICAS_MAX}"
            )
        if len(self.device_class.encode("utf-8", "replace")) > TEXT_MAX_BYTES:
            raise InvalidPlacement(f"placement {self.name}: the class is too long")


@dataclass(frozen=True, slots=True)
class Step:
    """The moves of one placement that one epoch made, kept while `min_part_hours` lasts.

    partitions uint32, replicas uint8, sources uint32 (device ids or NO_DEVICE): one entry per move.
    at_s: seconds since the Unix epoch.
    """

    epoch: int
    at_s: int
    partitions: npt.NDArray[np.uint32]
    replicas: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.partitions)


def check_weight(weight: float) -> None:
    """Raises InvalidDevice unless `weight` is 0 or within WEIGHT_MIN … WEIGHT_MAX."""
    if weight == 0 or (math.isfinite(weight) and WEIGHT_MIN <= weight <= WEIGHT_MAX):
        return
    raise InvalidDevice(f"weight {weight} is neither 0 nor within {WEIGHT_MIN} … {WEIGHT_MAX:g}")


def _check_text(device_id: int, field: str, text: str, size_max_bytes: int) -> None:
    try:
        size_bytes = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidDevice(f"device {device_id}: {field} is not valid Unicode") from None
    if size_bytes > size_max_bytes:
        raise InvalidDevice(f"device {device_id}: {field} is over {size_max_bytes} bytes")
    if not text.isprintable():
        raise InvalidDevice(f"device {device_id}: {field} has unprintable characters")


def default_placements(device_count: int) -> tuple[Placement, ...]:
    """What a fresh store of so many devices starts with: `rows` and the policies that fit.

    With fewer devices than replicas, there are as many replicas as devices: two replicas on one
    device would let one disk acknowledge for a majority.
    """
    copies = min(ROWS_REPLICAS, device_count)
    placements = [Placement(ROWS, copies), Placement(f"replicated-{copies}", copies)]
    if device_count >= 6:
        placements.append(Placement("ec-4-2", 6))
    return tuple(placements)
