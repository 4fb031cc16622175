"""What the golden files say, spelled out. The files were written once and are kept for ever.

Run as a program, it prints the bytes of one of them: only for a new file beside the old ones.
"""

import sys

import numpy as np

from ring.draft import AddDevice, AddPlacement, Draft, RemoveDevice, SetWeight, encode_draft
from ring.file import encode
from ring.lookup import Ring
from ring.types import NO_DEVICE, Device, DeviceState, Placement, Step

DEVICES = (
    Device(
        id=0,
        incarnation="000102030405060708090a0b0c0d0e0f",
        region="eu",
        zone="züri-1",
        node="n1",
        address="10.0.0.1:7000",
        path="/srv/d0",
        weight=4.0,
        device_class="ssd",
    ),
    Device(
        id=1,
        incarnation="f" * 32,
        region="eu",
        zone="züri-2",
        node="n2",
        address="[fe80::1]:7000",
        path="/srv/d1",
        weight=0.1,
    ),
    Device(
        id=3,
        incarnation="0" * 32,
        region="us",
        zone="east",
        node="n3",
        address="",
        path="/srv/d 3",
        weight=0.0,
        state=DeviceState.LEAVING,
    ),
    Device(
        id=4,
        incarnation="ab" * 16,
        region="us",
        zone="east",
        node="n4",
        address="unix:/run/n4",
        path="/srv/d4",
        weight=1e9,
        state=DeviceState.LOST,
    ),
)

STEPS = (
    Step(
        epoch=6,
        at_s=1_700_000_000,
        partitions=np.array([1, 3], dtype=np.uint32),
        replicas=np.array([0, 1], dtype=np.uint8),
        sources=np.array([4, NO_DEVICE], dtype=np.uint32),
    ),
    Step(
        epoch=7,
        at_s=1_700_003_600,
        partitions=np.array([0], dtype=np.uint32),
        replicas=np.array([1], dtype=np.uint8),
        sources=np.array([3], dtype=np.uint32),
    ),
)


def ring(next_device_id: int = 5) -> Ring:
    """The ring of the golden files; ids beyond 65,535 make it a wide one."""
    kind = np.uint16 if next_device_id <= 1 << 16 else np.uint32
    return Ring(
        epoch=7,
        cluster_id="00112233445566778899aabbccddeeff",
        salt=0x0123456789ABCDEF,
        part_power=2,
        min_part_hours=24,
        overload=0.25,
        next_device_id=next_device_id,
        devices=DEVICES,
        placements=(Placement("rows", 2), Placement("fast-1", 1, "ssd")),
        tables={
            "rows": np.array([[0, 1, 3, 4], [1, 0, 0, 3]], dtype=kind),
            "fast-1": np.array([[0, 0, 0, 0]], dtype=kind),
        },
        steps={"rows": STEPS, "fast-1": ()},
    )


def fine_ring() -> Ring:
    """A ring without placements, of the most partitions: only names to look up."""
    return Ring(
        epoch=1,
        cluster_id="0" * 32,
        salt=0x0123456789ABCDEF,
        part_power=24,
        min_part_hours=1,
        overload=0.0,
        next_device_id=0,
        devices=(),
        placements=(),
        tables={},
        steps={},
    )


PARTITIONS_OF_NAMES = {
    b"": 13376675,
    b"a": 16577385,
    b"AUTH_demo/photos/cat.jpg": 6111049,
    "zürich".encode(): 11579274,
    bytes(300): 15839322,
}
"""In `fine_ring`."""

DRAFT = Draft(
    epoch=7,
    changes=(
        AddDevice(
            Device(
                id=5,
                incarnation="0123456789abcdef" * 2,
                region="eu",
                zone="züri-3",
                node="n5",
                address="10.0.0.5:7000",
                path="/srv/d5",
                weight=2.5,
                device_class="hdd",
            )
        ),
        SetWeight(device_id=1, weight=0.5),
        RemoveDevice(device_id=0, lost=False),
        RemoveDevice(device_id=3, lost=True),
        AddPlacement(Placement("ec-4-2", 6, "hdd")),
    ),
)

FILES = {
    "ring-v1.bin": lambda: encode(ring()),
    "ring-v1-wide.bin": lambda: encode(ring(next_device_id=65_537)),
    "draft-v1.json": lambda: encode_draft(DRAFT),
}

if __name__ == "__main__":
    sys.stdout.buffer.write(FILES[sys.argv[1]]())
