"""What a run stood on: machine, kernel, versions, commit. Read once, stored beside the results."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

VERSIONED = ("aiohttp", "uvloop", "lmdb", "msgspec", "pyeclib", "xxhash", "awscrt", "numpy")


class Machine(msgspec.Struct):
    """See the module. commit: "" outside a repository; dirty: it had changes of its own."""

    measured_at: str
    processor: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    versions: dict[str, str]
    commit: str
    dirty: bool


def describe(repository: Path) -> Machine:
    """The machine now, and the state of the repository at `repository`."""
    status = try_git(repository, "status", "--porcelain", "--untracked-files=no")
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=_processor(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        kernel=platform.release(),
        python=platform.python_version(),
        versions={name: _version(name) for name in VERSIONED},
        commit=try_git(repository, "rev-parse", "HEAD"),
        dirty=bool(status),
    )


def try_git(repository: Path, *words: str) -> str:
    """Output of a git command; "" where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *words], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
