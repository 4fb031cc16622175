"""The add-on's rows of `make bench`: what is run, its bars, its sentences."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Figures = Mapping[str, Any]

MIB: Final = 1024**2
FULL: Final[Mapping[str, tuple[str, ...]]] = {
    "identity": (),
    "image": (),
    "volume": (),
    "backup": (),
}
QUICK: Final[Mapping[str, tuple[str, ...]]] = {
    "identity": ("--seconds", "1"),
    "image": ("--mib", "32", "--rounds", "1"),
    "volume": ("--share", "16"),
    "backup": ("--size-gib", "1", "--data-mib", "8", "--changed-mib", "1"),
}
TOKENS_BAR: Final = 1500
IMAGE_BAR: Final = 0.8
CLONE_BAR_S: Final = 0.2
BACKUP_BAR_S: Final = 10.0
STORED_BAR: Final = 1.1
INCREMENT_BAR: Final = 1.2
VOLUME_GOALS: Final = {
    "sequential write 1 MiB": 0.5,
    "sequential read 1 MiB": 0.5,
    "random write 4 KiB": 0.25,
    "random read 4 KiB": 0.25,
}
"""Shares of what qemu-nbd does on a local qcow2 file."""


def _identity_missed(found: Figures) -> bool:
    return bool(found["per_core"] < TOKENS_BAR)


def _image_missed(found: Figures) -> bool:
    return bool(min(found["upload_ratio"], found["download_ratio"]) < IMAGE_BAR)


def _volume_missed(found: Figures) -> bool:
    slow = any(found[name]["share"] < goal for name, goal in VOLUME_GOALS.items())
    return slow or max(found["snapshot_s"], found["clone_of_image_s"]) > CLONE_BAR_S


def _backup_missed(found: Figures) -> bool:
    rows = [row for name, row in found.items() if name != "restore"]
    bars = (STORED_BAR, *(INCREMENT_BAR for _ in rows[1:]))
    big = any(row["stored"] > bar * row["data"] for row, bar in zip(rows, bars, strict=True))
    return big or rows[0]["seconds"] > BACKUP_BAR_S


def _about_identity(found: Figures) -> list[str]:
    return [
        f"the add-on validates {found['per_core']:,.0f} tokens a second of a core (bar {TOKENS_BAR:,})"
    ]


def _about_image(found: Figures) -> list[str]:
    return [
        f"images: upload {found['upload_ratio']:.2f}, download {found['download_ratio']:.2f} of the"
        f" store's own PUT and GET (bar {IMAGE_BAR})"
    ]


def _about_volume(found: Figures) -> list[str]:
    rows = [
        f"ring volume over NBD, {name}: {found[name]['ring_per_s']:,.0f}/s beside"
        f" {found[name]['qcow2_per_s']:,.0f}/s of qemu-nbd on a local qcow2 file,"
        f" {found[name]['share']:.0%} (goal {goal:.0%}); fsync {found['fsync']}"
        for name, goal in VOLUME_GOALS.items()
    ]
    return [
        *rows,
        f"ring volume: snapshot {found['snapshot_s']:.2f} s, clone of a 2 GiB image"
        f" {found['clone_of_image_s']:.2f} s (bar {CLONE_BAR_S}), of a busy volume"
        f" {found['clone_of_volume_s']:.2f} s",
    ]


def _about_backup(found: Figures) -> list[str]:
    return [
        f"backup, {name}: {row['seconds']:.1f} s, {row['stored'] / MIB:.1f} MiB stored of"
        f" {row['data'] / MIB:.0f} MiB"
        for name, row in found.items()
    ]


MISSED: Final[Mapping[str, Callable[[Figures], bool]]] = {
    "identity": _identity_missed,
    "image": _image_missed,
    "volume": _volume_missed,
    "backup": _backup_missed,
}
ABOUT: Final[Mapping[str, Callable[[Figures], list[str]]]] = {
    "identity": _about_identity,
    "image": _about_image,
    "volume": _about_volume,
    "backup": _about_backup,
}
