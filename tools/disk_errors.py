"""What `atoll doctor` finds of failing disks: what the kernel has counted, and what devices set aside.

SMART is left to its own tools: it needs rights that a store should not have.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from tools.finding import Finding, ok, problem, warning
from tools.health import words

QUARANTINE: Final = "quarantine"

QUARANTINE_LISTED_MAX: Final = 10_000
"""More files than this are not counted to the end."""


def check_disk_errors(paths: Iterable[str], sys_root: str = "/sys") -> Iterator[Finding]:
    """Errors that the kernel counted on the disks and file systems under `paths`, each once."""
    seen: set[int] = set()
    clean: list[str] = []
    for path in paths:
        try:
            number = os.stat(path).st_dev
        except OSError:
            continue  # whether the path is there is another check
        if number in seen:
            continue
        seen.add(number)
        found = list(_errors_of(path, number, sys_root))
        yield from found
        if not found:
            clean.append(path)
    if clean:
        yield ok("disk errors", f"the kernel has counted none under {words.listed(clean)}")


def _errors_of(path: str, number: int, sys_root: str) -> Iterator[Finding]:
    block = os.path.join(sys_root, "dev", "block", f"{os.major(number)}:{os.minor(number)}")
    name = os.path.basename(os.path.realpath(block))
    file_system = _count(os.path.join(sys_root, "fs", "ext4", name, "errors_count"))
    if file_system:
        yield problem(
            "disk errors",
            f"{path}: ext4 has met {words.counted(file_system, 'error')} in its file system on {name}. "
            "Stop the store on it, look at the kernel's log and run fsck; replace the disk if they "
            "come back",
        )
    # A partition's disk is the directory above it.
    for device in (block, os.path.join(block, "..")):
        errors = _count(os.path.join(device, "device", "ioerr_cnt"), 16)
        if errors:
            yield problem(
                "disk errors",
                f"{path}: the kernel has counted {words.counted(errors, 'failed command')} of disk "
                f"{name} since the machine started. Look at its log; drain the disk's devices and "
                "replace it",
            )
            return


def _count(path: str, base: int = 10) -> int:
    """The number in a file of sysfs; 0 where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read().strip(), base)
    except (OSError, ValueError):
        return 0


def check_quarantine(paths: Iterable[str]) -> Iterator[Finding]:
    """Copies that devices have set aside because their checksums failed."""
    for path in paths:
        place = os.path.join(path, QUARANTINE)
        try:
            with os.scandir(place) as entries:
                count = sum(1 for _, _ in zip(entries, range(QUARANTINE_LISTED_MAX), strict=False))
        except OSError:
            continue
        if count:
            more = "at least " if count == QUARANTINE_LISTED_MAX else ""
            yield warning(
                "quarantine",
                f"{place} holds {more}{words.counted(count, 'damaged copy', 'damaged copies')}, made "
                "anew elsewhere. If they go on growing, the disk or its cable fails; remove the files "
                "when you have seen them",
            )
