"""What tests do to a store's devices from outside: find files in them, and flip bytes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from storage.device.blob_format import FOOTER_BYTES, HEADER_BYTES, parse_header
from storage.types import BlobHeader
from tests.api.store import RunningStore


class BlobFile(NamedTuple):
    """A blob's file on a device."""

    device: int
    path: Path
    header: BlobHeader

    @property
    def read_first(self) -> bool:
        """Whether a healthy read asks for this copy or fragment."""
        return self.header.name.number < (self.header.k if self.header.codec else 1)

    @property
    def key(self) -> str:
        """Of the object that it is a part of."""
        return self.header.owner_name.decode()


def device_path(store: RunningStore, device: int) -> Path:
    """A device's directory."""
    return store.data / "devices" / f"d{device}"


def device_paths(store: RunningStore) -> list[Path]:
    """All devices' directories, by number."""
    return [device_path(store, n) for n in range(len(list((store.data / "devices").iterdir())))]


def blob_files(store: RunningStore) -> list[BlobFile]:
    """All blobs' files."""
    found = []
    for device, path in enumerate(device_paths(store)):
        for file in sorted(path.glob("blobs/*/*")):
            with file.open("rb") as opened:
                found.append(BlobFile(device, file, parse_header(opened.read(HEADER_BYTES))))
    return found


def flip(path: Path, offsets: Iterable[int]) -> None:
    """Flip all bits of the bytes at some offsets; negative ones count from the end."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        for offset in offsets:
            at = offset % size
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))


PARTS = {
    "header": 20,
    "data": HEADER_BYTES + 1000,
    "table": -FOOTER_BYTES - 3,
    "footer": -FOOTER_BYTES + 2,
    "end": -1,
}
"""The parts of a blob's file, and the offset of a byte of each."""


def status_of(store: RunningStore, device: int) -> dict[str, Any]:
    """What a device says of itself."""
    for worker in json.loads(store.ask_admin("/status"))["workers"]:
        if str(device) in worker["devices"]:
            found: dict[str, Any] = worker["devices"][str(device)]
            return found
    raise AssertionError(f"nobody tells of device {device}")


def all_indexed(store: RunningStore) -> bool:
    """Whether every device's rows are in its index on disk."""
    report = json.loads(store.ask_admin("/status"))
    devices = [status for worker in report["workers"] for status in worker["devices"].values()]
    return all(status["unindexed_rows"] == 0 for status in devices)


def quarantined(store: RunningStore, device: int) -> list[str]:
    """Names of the blobs that a device has set aside."""
    names = (path.name for path in (device_path(store, device) / "quarantine").iterdir())
    return sorted(name.rpartition(".")[0] for name in names)
