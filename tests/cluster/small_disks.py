"""Small file systems for devices, in a mount namespace of their own that ends with the test.

As root a mount namespace is enough; others get a user namespace, too. A process holds it open, and ends
with its standard input, so that nothing stays even where the tests are killed.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.api.store import REPOSITORY

END_WITHIN_S: Final = 10.0


class SmallDisks(NamedTuple):
    """folders: where the file systems are mounted, inside. wrapper: runs a command inside."""

    folders: list[str]
    wrapper: list[str]


@contextmanager
def small_disks(folder: Path, count: int, size_mib: int) -> Iterator[SmallDisks]:
    """Some empty tmpfs of a size each."""
    folders = [str(folder / f"disk{number}") for number in range(count)]
    for path in folders:
        os.mkdir(path)
    mounts = [f"mount -t tmpfs -o size={size_mib}m,mode=0700 tmpfs '{path}'" for path in folders]
    script = " && ".join([*mounts, "echo mounted", "exec cat"])
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", *user, "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "mounted\n", "no namespace, or no mount in it"
        enter = ["nsenter", "--target", str(holder.pid), "--mount"]
        enter += ["--user", "--preserve-credentials"] if user else []
        inside = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(REPOSITORY)]
        yield SmallDisks(folders, [*enter, *inside])
    finally:
        holder.stdin.close()
        holder.wait(END_WITHIN_S)
        holder.stdout.close()
